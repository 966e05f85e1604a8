// Which memory a point is made of, and whether all of it can be taken: looked at before the machine is stopped.

import { type Fault, fault } from '../disk/index.js';
import type { Machine, Region } from './machine.js';
import type { MemoryFile } from './memory-file.js';
import { isPersistent, nameOf, troubleOf } from './warnings.js';

/** What keeps the memory as it is while it is read: clones, the pause itself, or nothing. */
export type Freeze = 'reflink' | 'pause' | 'none';
/** Whether the device state, and with it the RAM, is part of the point. */
export type State = 'device' | 'none';

/** A region that can be taken. */
export interface TakenRegion extends Region {
  readonly file: MemoryFile;
}

const unsuitable = (problem: string, advice: string): Fault =>
  fault('vm-unsuitable', {
    problem: `${problem.charAt(0).toUpperCase()}${problem.slice(1)}.`,
    advice,
  });

/** Refuses a region of which the content cannot be had; RAM may also be left out. */
const checkRegion = (region: Region, freeze: Freeze): TakenRegion => {
  const trouble = troubleOf(region);
  if (trouble) {
    const advice = isPersistent(region)
      ? trouble.advice
      : `${trouble.advice} Or take the NVDIMMs alone with --state none.`;
    throw unsuitable(trouble.problem, advice);
  }
  const { file } = region;
  if (!file) throw new Error('a region without trouble has a file');
  if (freeze === 'reflink' && !file.reflink) {
    throw unsuitable(
      `the file system of ${file.path} (${file.fileSystem ?? 'unknown'}) makes no clones, as btrfs and XFS do`,
      'Move it to one that does, or add --freeze pause to have the machine stand still while all is read.',
    );
  }
  return { ...region, file };
};

/** True for memory that a state of the devices would not hold, so that it must be taken as a file. */
export const isLeftOut = (region: Region): boolean =>
  region.kind !== 'other' || region.share || region.backend === 'memory-backend-file';

/** Two regions with one file: one of them would be restored over the other. */
const checkDistinct = (regions: readonly TakenRegion[]): void => {
  const owners = new Map<string, TakenRegion>();
  for (const region of regions) {
    const other = owners.get(region.file.path);
    if (other) {
      throw unsuitable(
        `${nameOf(other)} and ${nameOf(region)} have the same file, ${region.file.path}`,
        'Give each a file of its own.',
      );
    }
    owners.set(region.file.path, region);
  }
};

/** The regions of a point; a Fault says which cannot be taken, and why. */
export const planRegions = (machine: Machine, state: State, freeze: Freeze): TakenRegion[] => {
  const wanted = machine.regions.filter(
    (region) => isPersistent(region) || (state === 'device' && isLeftOut(region)),
  );
  if (wanted.length === 0) {
    throw unsuitable(
      `the machine at ${machine.address} has no NVDIMM`,
      'Give it one, as docs/live.md shows, or add --state device with its RAM in a file.',
    );
  }
  if (state === 'device') {
    const [blocker] = machine.blockers;
    if (blocker !== undefined) {
      throw unsuitable(
        `QEMU cannot save the device state: ${blocker}`,
        'Remove what is in its way, or take the NVDIMMs alone with --state none.',
      );
    }
    if (machine.status === 'postmigrate') {
      throw unsuitable(
        `the machine at ${machine.address} has stood still since its state was last saved`,
        'Let it go on first, or take the NVDIMMs alone with --state none.',
      );
    }
  }
  const regions = wanted.map((region) => checkRegion(region, freeze));
  checkDistinct(regions);
  return regions;
};
