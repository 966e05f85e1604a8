// What of a machine cannot be part of a point, or not as it should: in sentences.

import { formatSize } from '../disk/index.js';
import type { Machine, Region } from './machine.js';

const KINDS: Readonly<Record<Region['kind'], string>> = {
  nvdimm: 'NVDIMM',
  'virtio-pmem': 'virtio-pmem device',
  dimm: 'DIMM',
  ram: 'RAM',
  other: 'memory',
};

/** A region as sentences name it. */
export const nameOf = ({ id, kind }: Region): string => `the ${KINDS[kind]} ${id}`;

/** True for memory that keeps its content without power: what every point is made of. */
export const isPersistent = ({ kind }: Region): boolean =>
  kind === 'nvdimm' || kind === 'virtio-pmem';

/** What is wrong with a region, and what would help; undefined for nothing. */
export const troubleOf = (
  region: Region,
): { readonly problem: string; readonly advice: string } | undefined => {
  const { file, share, bytes } = region;
  const name = nameOf(region);
  if (!file) {
    return {
      problem: `${name} is not a file (${region.backend})`,
      advice: 'Make it one: -object memory-backend-file,share=on,mem-path=FILE,…',
    };
  }
  if (!share) {
    return {
      problem: `${name} is mapped privately (share=off): what the guest writes never gets to ${file.path}`,
      advice: 'Start QEMU with share=on for it.',
    };
  }
  switch (file.state) {
    case 'mapped':
      if (file.bytes >= bytes) return undefined;
      return {
        problem: `${file.path} of ${name} has ${file.bytes} bytes, but the machine ${bytes}`,
        advice: 'Shut the machine down, and bring the file back to its size.',
      };
    case 'missing':
      return {
        problem: `${file.path} of ${name} does not exist any more`,
        advice: 'Copy the memory out of the guest; with the process, the content goes.',
      };
    case 'replaced':
      return {
        problem: `${file.path} of ${name} is not the file that QEMU has open: it was replaced`,
        advice: 'Put the file back under its name, or start the machine anew.',
      };
    case 'unsuitable':
      return {
        problem: `${file.path} of ${name} is not a regular file`,
        advice: 'Name a file with mem-path, not a folder or a device.',
      };
    case 'unseen':
      return {
        problem: `it cannot be seen whether QEMU has ${file.path} of ${name} open`,
        advice: 'Run nvsnap on the same host, as root or as the user that QEMU runs as.',
      };
  }
};

const capital = (words: string): string => words.charAt(0).toUpperCase() + words.slice(1);

/** All that cannot be consistent, a sentence each. */
export const warningsOf = ({ regions, disks, blockers }: Machine): string[] => [
  ...regions.flatMap((region) => {
    const trouble = troubleOf(region);
    return trouble ? [`${capital(trouble.problem)}. ${trouble.advice}`] : [];
  }),
  ...regions.flatMap((region) =>
    region.file?.state === 'mapped' && region.file.bytes > region.bytes
      ? [
          `${region.file.path} of ${nameOf(region)} is longer than what the machine has of it by ` +
            `${formatSize(region.file.bytes - region.bytes)}: all of it is taken.`,
        ]
      : [],
  ),
  ...disks.map(
    ({ device, file }) =>
      `The disk ${device} (${file}) can be written to and is no memory: it is in no point. Take it with --while-paused.`,
  ),
  ...blockers.map((reason) => `QEMU cannot save the device state: ${reason}`),
];
