// A point back in files: the images, the device state, and how QEMU is to be started on them.

import fs from 'node:fs';
import { resolve } from 'node:path';
import { fault, ioFault, MiB } from '../disk/index.js';
import { createEmitter, Pools, type RestoreResult, restore } from '../snapshot/index.js';
import type { MachineEmitter } from './events.js';
import type { Manifest } from './manifest.js';
import { PointsFolder } from './points.js';
import { userOf } from './process.js';
import { imagePath, qemuOptions, statePath } from './qemu-options.js';

export interface RestorePointOptions {
  /** Folder of the machine's points. */
  readonly stores: string;
  readonly tag: string;
  /** A folder for the images, made when it does not exist. */
  readonly to?: string | undefined;
  /** Bring the machine's own files back instead, writing only what differs. */
  readonly inPlace?: boolean | undefined;
  /** Replace existing files in `to`. */
  readonly force?: boolean | undefined;
  readonly memory?: number | undefined;
  readonly events?: MachineEmitter | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A point that was restored. Sizes in bytes, times in milliseconds. */
export interface RestoredPoint {
  readonly tag: string;
  readonly consistent: boolean;
  readonly images: readonly (RestoreResult & { readonly region: string })[];
  /** Path of the device state; null where there is none, and in place, where it stays in its store. */
  readonly state: string | null;
  /** The words of QEMU's command line that the point decides. */
  readonly qemuOptions: readonly string[];
  /** False when the machine has to boot: the point has no device state. */
  readonly resumable: boolean;
  readonly elapsedMs: number;
}

const MEMORY = 192 * MiB;

/** An image that somebody has open would change under his feet. */
const checkUnused = (path: string): void => {
  const user = userOf(path);
  if (!user) return;
  throw fault('vm-unsuitable', {
    problem: `Process ${user.pid} (${user.name}) has ${path} open.`,
    advice: 'Shut the machine down first, or restore to other files with --to.',
  });
};

/** Where each region goes. */
const pathsOf = (
  { regions }: Manifest,
  { to, inPlace, force }: RestorePointOptions,
): Map<string, string> => {
  if ((to === undefined) === (inPlace !== true)) {
    throw fault('usage', {
      problem: 'It is not clear where the point is to be restored to.',
      advice: 'Give a folder with --to, or --in-place for the files of the machine.',
    });
  }
  const paths = new Map(
    regions.map((region) => [
      region.id,
      to === undefined ? region.path : imagePath(resolve(to), region),
    ]),
  );
  for (const path of paths.values()) {
    if (to !== undefined && !force && fs.existsSync(path)) throw fault('output-exists', { path });
    checkUnused(path);
  }
  return paths;
};

/** Restores a point. Rejects with a Fault; a file is there only when it is whole. */
export const restorePoint = async (options: RestorePointOptions): Promise<RestoredPoint> => {
  const began = performance.now();
  const { to, inPlace, force, events, signal, memory = MEMORY } = options;
  const folder = new PointsFolder(options.stores);
  const manifest = await folder.manifest(options.tag);
  const paths = pathsOf(manifest, options);
  if (to !== undefined) {
    try {
      fs.mkdirSync(to, { recursive: true });
    } catch (error) {
      throw ioFault(error, to, 'make');
    }
  }
  const pools = new Pools({ memory });
  const bring = (region: string, store: string, snapshot: string, output: string) => {
    const own = createEmitter();
    own.on('progress', (progress) => events?.emit('progress', region, progress));
    const manner = region !== 'state' && inPlace ? { inPlace } : { force };
    return restore({ store, snapshot, output, ...manner, memory, pools, events: own, signal });
  };
  try {
    const images: RestoredPoint['images'][number][] = [];
    for (const { id, snapshot } of manifest.regions) {
      const path = paths.get(id) as string;
      images.push({ region: id, ...(await bring(id, folder.memoryStore(id), snapshot, path)) });
    }
    const state = manifest.state && to !== undefined ? statePath(resolve(to)) : null;
    if (manifest.state && state !== null) {
      await bring('state', folder.stateStore, manifest.state.snapshot, state);
    }
    return {
      tag: manifest.tag,
      consistent: manifest.consistent,
      images,
      state,
      qemuOptions: qemuOptions(manifest, paths),
      resumable: manifest.state !== null,
      elapsedMs: Math.round(performance.now() - began),
    };
  } finally {
    await pools.close();
  }
};
