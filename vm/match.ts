// Whether a machine that waits for a state is the one that a point was taken of: the same kind of machine, the same
// memory in the same places, and in it the content of that moment. QEMU itself looks at none of the content.

import { type Fault, fault, formatSize, MiB } from '../disk/index.js';
import { compare, createEmitter, Pools } from '../snapshot/index.js';
import type { MachineEmitter } from './events.js';
import type { Machine } from './machine.js';
import type { Manifest, PointRegion } from './manifest.js';
import { isLeftOut, type TakenRegion } from './plan.js';
import type { PointsFolder } from './points.js';
import { isPersistent, nameOf, troubleOf } from './warnings.js';

const MEMORY = 192 * MiB;

const START_AGAIN = 'Start QEMU with the options that "nvsnap vm restore" prints.';

const differs = ({ tag }: Manifest, problem: string, advice = START_AGAIN): Fault =>
  fault('vm-differs', { tag, problem, advice });

/** Refuses another machine type, version or size. */
export const matchMachine = (manifest: Manifest, machine: Machine, otherQemu: boolean): void => {
  const { machine: was } = manifest;
  if (machine.status !== 'inmigrate') {
    throw differs(
      manifest,
      `it is in the state ${JSON.stringify(machine.status)} and waits for no state`,
      'Start it with -incoming defer.',
    );
  }
  if (machine.qemu !== was.qemu && !otherQemu) {
    throw differs(
      manifest,
      `it is QEMU ${machine.qemu}, and the point was taken of QEMU ${was.qemu}`,
      'Use that version, or add --other-qemu if QEMU itself may decide.',
    );
  }
  if (machine.type !== was.type) {
    throw differs(manifest, `its machine type is ${machine.type}, not ${was.type}`);
  }
  if (machine.memory.bytes !== was.memoryBytes) {
    const [has, had] = [machine.memory.bytes, was.memoryBytes].map(formatSize);
    throw differs(manifest, `it has ${has} of RAM, not ${had}`);
  }
  if (machine.processors !== was.processors) {
    throw differs(manifest, `it has ${machine.processors} processors, not ${was.processors}`);
  }
};

/** What of a region is to be as it was, in words. */
const placesOf = ({
  kind,
  size,
  device,
  guestAddress,
}: Pick<PointRegion, 'kind' | 'size' | 'device' | 'guestAddress'>): [string, string][] => [
  ['kind', kind],
  ['size', `${size} bytes`],
  ['device', device ?? 'none'],
  ['guest address', guestAddress === null ? 'none' : `0x${guestAddress.toString(16)}`],
];

/** Refuses other regions, or the same in other places; resolves to those that there are. */
export const matchRegions = (manifest: Manifest, { regions }: Machine): TakenRegion[] => {
  const counted = regions.filter((region) => isPersistent(region) || isLeftOut(region));
  const extra = counted.find(({ id }) => !manifest.regions.some((was) => was.id === id));
  if (extra) throw differs(manifest, `${nameOf(extra)} is not part of the point`);
  return manifest.regions.map((was) => {
    const region = regions.find(({ id }) => id === was.id);
    if (!region) throw differs(manifest, `it has no memory backend ${was.id}`);
    const trouble = troubleOf(region);
    if (trouble || !region.file) {
      throw differs(manifest, trouble?.problem ?? 'its memory is no file', trouble?.advice);
    }
    const now = new Map(placesOf({ ...region, size: region.bytes }));
    for (const [what, had] of placesOf(was)) {
      const has = now.get(what);
      if (has !== had) {
        throw differs(manifest, `the ${what} of ${was.id} is ${has ?? 'none'}, not ${had}`);
      }
    }
    if (region.file.bytes !== was.bytes) {
      const { path, bytes } = region.file;
      throw differs(manifest, `${path} of ${was.id} has ${bytes} bytes, not ${was.bytes}`);
    }
    return { ...region, file: region.file };
  });
};

/** Refuses memory of which the content is not that of the point. */
export const matchContent = async (
  manifest: Manifest,
  regions: readonly TakenRegion[],
  folder: PointsFolder,
  {
    events,
    signal,
    memory = MEMORY,
  }: {
    readonly events?: MachineEmitter | undefined;
    readonly signal?: AbortSignal | undefined;
    readonly memory?: number | undefined;
  },
): Promise<void> => {
  const pools = new Pools({ memory });
  const held = async (was: PointRegion, image: string) => {
    const own = createEmitter();
    own.on('progress', (progress) => events?.emit('progress', was.id, progress));
    const options = { memory, pools, events: own, signal };
    const store = folder.memoryStore(was.id);
    return await compare({ store, snapshot: was.snapshot, image, ...options });
  };
  try {
    for (const [i, was] of manifest.regions.entries()) {
      const path = (regions[i] as TakenRegion).file.path;
      const { equal, differentBytes } = await held(was, path);
      if (equal) continue;
      const advice = `Bring it back with "nvsnap vm restore", before QEMU is started.`;
      for (const other of manifest.regions) {
        if (other.id === was.id || other.bytes !== was.bytes) continue;
        if ((await held(other, path)).equal) {
          const problem = `${path} of ${was.id} has the content of ${other.id}`;
          throw differs(manifest, problem, START_AGAIN);
        }
      }
      const problem = `${path} of ${was.id} has not the content of the point (${formatSize(differentBytes)} differ)`;
      throw differs(manifest, problem, advice);
    }
  } finally {
    await pools.close();
  }
};
