// How QEMU has to be started on what was restored: the options that the point knows of. Those of all other devices are
// the caller's, and QEMU itself refuses a device state of others.

import { join } from 'node:path';
import { GiB, KiB, MiB } from '../disk/index.js';
import type { Manifest, PointRegion } from './manifest.js';

/** In QEMU's syntax a comma ends a value unless it is doubled. */
const value = (text: string): string => text.replaceAll(',', ',,');

/** A size as QEMU reads it. */
const size = (bytes: number): string => {
  for (const [unit, letter] of [
    [GiB, 'G'],
    [MiB, 'M'],
    [KiB, 'K'],
  ] as const) {
    if (bytes % unit === 0) return `${bytes / unit}${letter}`;
  }
  return `${bytes}B`;
};

const list = (...parts: readonly (string | false)[]): string =>
  parts.filter((part) => part !== false).join();

const backend = (region: PointRegion, path: string): string =>
  list(
    `memory-backend-file,id=${region.id}`,
    `mem-path=${value(path)}`,
    `size=${size(region.size)}`,
    'share=on',
    region.pmem && 'pmem=on',
  );

const DEVICES: Readonly<Partial<Record<PointRegion['kind'], string>>> = {
  nvdimm: 'nvdimm',
  'virtio-pmem': 'virtio-pmem-pci',
  dimm: 'pc-dimm',
};

/** A device with the place that it had. */
const device = (region: PointRegion): string[] => {
  const { id, kind, slot, guestAddress, node, labelBytes } = region;
  const type = DEVICES[kind];
  if (type === undefined) return [];
  const dimm = kind !== 'virtio-pmem';
  const words = list(
    type,
    region.device !== null && `id=${value(region.device)}`,
    `memdev=${id}`,
    labelBytes > 0 && `label-size=${size(labelBytes)}`,
    dimm && slot !== null && slot >= 0 && `slot=${slot}`,
    dimm && guestAddress !== null && `addr=0x${guestAddress.toString(16)}`,
    dimm && node !== null && node > 0 && `node=${node}`,
  );
  return ['-device', words];
};

/** The words of QEMU's command line that the point decides; `paths` has the image of each region. */
export const qemuOptions = (
  { machine, regions, state }: Manifest,
  paths: ReadonlyMap<string, string>,
): string[] => {
  const { type, memoryBytes, maxMemoryBytes, slots, memoryBackend } = machine;
  const taken = regions.some(({ id }) => id === memoryBackend);
  const nvdimms = regions.some(({ kind }) => kind === 'nvdimm');
  const hotplug = slots !== null && slots > 0 && maxMemoryBytes !== null;
  return [
    '-machine',
    list(type, nvdimms && 'nvdimm=on', taken && `memory-backend=${memoryBackend}`),
    '-m',
    list(
      size(memoryBytes),
      hotplug && `slots=${slots}`,
      hotplug && `maxmem=${size(maxMemoryBytes)}`,
    ),
    ...regions.flatMap((region) => [
      '-object',
      backend(region, paths.get(region.id) ?? region.path),
      ...device(region),
    ]),
    ...(state ? ['-incoming', 'defer'] : []),
  ];
};

/** Words as a shell takes them. */
export const shellLine = (words: readonly string[]): string =>
  words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`))
    .join(' ');

/** Where the images of a point go. */
export const imagePath = (folder: string, { id }: PointRegion): string => join(folder, `${id}.img`);
export const statePath = (folder: string): string => join(folder, 'device.state');
