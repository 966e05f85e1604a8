// The results as text.

import { formatSize } from '../disk/index.js';
import type { ImageFacts } from './image.js';
import type { Ratio, Result } from './job.js';
import type { Machine } from './machine.js';
import { type Laps, median } from './measure.js';
import type { Peer } from './peers.js';

/** Everything a run of the benchmark has to tell. */
export interface Report {
  readonly version: string;
  readonly machine: Machine;
  readonly peers: readonly Peer[];
  readonly runs: number;
  readonly images: readonly ImageFacts[];
  readonly results: readonly Result[];
}

/** Rows of words as columns; the first is aligned left, the others right. */
export const columns = (rows: readonly (readonly string[])[]): string[] => {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((word, i) => (i === 0 ? word.padEnd(widths[i] ?? 0) : word.padStart(widths[i] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
};

const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(3)} s`;

const share = (part: number, whole: number): string => `${((part / whole) * 100).toFixed(0)} %`;

const lapRow = (laps: Laps, result: Result, ratio: Ratio | undefined): string[] => {
  const time = median(laps.milliseconds);
  return [
    `  ${laps.name}`,
    seconds(time),
    `${(result.imageBytes / 1e9 / (time / 1000)).toFixed(2)} GB/s`,
    laps.bytes === undefined ? '' : formatSize(laps.bytes),
    ratio ? `${ratio.speed.toFixed(2)}×` : '',
    ratio ? `${ratio.lowest.toFixed(2)}–${ratio.highest.toFixed(2)}` : '',
    ratio ? `≥ ${ratio.goal}×` : '',
    ratio?.bytes === undefined ? '' : `${ratio.bytes.toFixed(3)}×`,
  ];
};

const HEADINGS = ['', 'time', 'rate', 'size', 'we are', 'pairs', 'goal', 'our size'];

const describeResult = (result: Result): string[] => {
  const rows = result.laps.map((laps) =>
    lapRow(
      laps,
      result,
      result.ratios.find(({ peer }) => peer === laps.name),
    ),
  );
  return [
    '',
    `${result.case}: ${result.title}, ${formatSize(result.imageBytes)}`,
    ...columns([HEADINGS, ...rows]),
    ...result.missing.map((peer) => `  ${peer} is missing: scripts/bench-peers installs it.`),
    `  verified: ${result.verified.join(', ')}`,
  ];
};

const describeImage = (image: ImageFacts): string =>
  `image    ${formatSize(image.size)}: ${share(image.zeroBytes, image.size)} zeros, ` +
  `${share(image.copyBytes, image.size)} copies, ${share(image.noiseBytes, image.size)} noise, ` +
  `seed ${image.seed}, files ${image.corpus}`;

/** The whole report, line by line. */
export const describe = ({ version, machine, peers, runs, images, results }: Report): string =>
  [
    `nvsnap   ${version}, node ${machine.node}`,
    ...peers.map(({ name, version }) => `${name.padEnd(9)}${version ?? 'not installed'}`),
    `machine  ${machine.cpu}, ${machine.cores} cores, ${formatSize(machine.memoryBytes)}, ` +
      `Linux ${machine.kernel}, load ${machine.load.toFixed(2)}`,
    `files    in ${machine.dir} on ${machine.fileSystem}`,
    ...images.map(describeImage),
    `method   page cache warm, whole processes, ${runs} rounds in turn, medians`,
    ...results.flatMap(describeResult),
  ].join('\n');
