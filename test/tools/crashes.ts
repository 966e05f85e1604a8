// Changes whose every I/O is logged, and the judgement of what a power cut in each of them leaves: the
// old store or the new one, never a third.

import { randomBytes as randomSeed, randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { KiB, type LogEntry, MiB, readLog } from '../../disk/index.js';
import { createStore } from '../../qcow2/index.js';
import {
  type CodecName,
  exportSnapshot,
  importSnapshot,
  list,
  Pools,
  remove,
  restore,
  take,
} from '../../snapshot/index.js';
import { copyState, firstDifference, Random, withFd } from './files.js';
import { Generation, PowerCuts } from './powercut.js';
import { check, convertSnapshot, qemuImg } from './qemu.js';

/** Small enough that a take of a small image has several batches. */
const MEMORY = 16 * MiB;

/** An import's batches are as the stream has them. */
const IMPORT_MEMORY = 128 * MiB;

export interface StoreKind {
  readonly name: string;
  readonly clusterSize: number;
  readonly compression: CodecName;
  /** Bytes of the image, and of the image grown past its L1 table. */
  readonly imageBytes: number;
  readonly grownBytes: number;
}

export const PLAIN_4K: StoreKind = {
  name: '4K clusters, plain',
  clusterSize: 4 * KiB,
  compression: 'none',
  imageBytes: 3 * MiB,
  grownBytes: 5 * MiB,
};

export const ZSTD_64K: StoreKind = {
  name: '64K clusters, zstd',
  clusterSize: 64 * KiB,
  compression: 'zstd',
  imageBytes: 4 * MiB,
  grownBytes: 520 * MiB,
};

/** One change, logged. */
export interface Crash {
  readonly name: string;
  readonly folder: string;
  /** The image as a take saw it; only until the next crash is made. */
  readonly image: string;
  readonly kind: StoreKind;
  readonly base: Generation;
  readonly result: Generation;
  readonly log: readonly LogEntry[];
  /** Tags before and after, and the image each was taken of. */
  readonly oldTags: readonly string[];
  readonly newTags: readonly string[];
  readonly images: ReadonlyMap<string, string>;
}

/** Builds up a store, and logs one take of it. */
export class Workshop {
  readonly folder: string;
  readonly kind: StoreKind;
  readonly #random: Random;
  readonly #images = new Map<string, string>();
  readonly #image: string;
  readonly #store: string;

  constructor(folder: string, kind: StoreKind, seed: number) {
    this.folder = folder;
    this.kind = kind;
    this.#random = new Random(seed);
    this.#image = join(folder, 'image');
    this.#store = join(folder, 'store');
    fs.writeFileSync(this.#image, '');
    fs.truncateSync(this.#image, kind.imageBytes);
    this.change(0.7);
  }

  /** Rewrites a share of the image's clusters; some become zero, some compress. */
  change(share: number): void {
    const { clusterSize } = this.kind;
    const fd = fs.openSync(this.#image, 'r+');
    const clusters = Math.floor(this.kind.imageBytes / clusterSize);
    for (const cluster of this.#random.pick(Math.ceil(share * clusters), clusters)) {
      const data = Buffer.alloc(clusterSize);
      const way = this.#random.below(8);
      if (way > 0) data.set(this.#random.bytes(way > 4 ? clusterSize : clusterSize / 8));
      fs.writeSync(fd, data, 0, clusterSize, cluster * clusterSize);
    }
    fs.closeSync(fd);
  }

  /** Makes the image longer, with something at its new end. */
  grow(): void {
    fs.truncateSync(this.#image, this.kind.grownBytes - 1000);
    fs.appendFileSync(this.#image, this.#random.bytes(1000));
  }

  async createEmpty(): Promise<void> {
    const { clusterSize, compression } = this.kind;
    const facts = {
      uuid: randomUUID(),
      digest: 'xxh3-128',
      codec: compression,
      chain: [],
    } as const;
    const seed = randomSeed(8);
    const store = await createStore(this.#store, Math.log2(clusterSize), { ...facts, seed });
    store.file.close();
  }

  take(tag: string, ioLog?: string): Promise<void> {
    return this.#takeInto(this.#store, tag, ioLog);
  }

  async #takeInto(store: string, tag: string, ioLog?: string): Promise<void> {
    const { clusterSize, compression } = this.kind;
    await take({
      image: this.#image,
      store,
      tag,
      memory: MEMORY,
      clusterSize,
      compression,
      ioLog,
    });
    const copy = join(this.folder, `image-${tag}`);
    copyState(this.#image, copy);
    this.#images.set(tag, copy);
  }

  /** Removes a snapshot with stock QEMU: its clusters become free. */
  removeWithQemu(tag: string): void {
    const { status, stderr } = qemuImg(['snapshot', '-d', tag, this.#store]);
    if (status !== 0) throw new Error(stderr);
  }

  /** Takes a snapshot and keeps what is needed to replay it. */
  logged(name: string, tag: string): Promise<Crash> {
    return this.#logged(name, tag, (ioLog) => this.take(tag, ioLog));
  }

  /** Removes snapshots, likewise. */
  loggedRemoval(name: string, snapshots: readonly string[]): Promise<Crash> {
    const store = this.#store;
    return this.#logged(name, snapshots.join(), async (ioLog) => {
      await remove({ store, snapshots, ioLog });
    });
  }

  /** Takes a snapshot in a copy of the store, ships it, and imports it here, likewise. */
  loggedImport(name: string, tag: string, since: string): Promise<Crash> {
    const side = join(this.folder, `side-${tag}`);
    const stream = join(this.folder, `stream-${tag}`);
    return this.#logged(name, tag, async (ioLog) => {
      fs.copyFileSync(this.#store, side);
      await this.#takeInto(side, tag);
      await withFd(stream, 'w', (fd) =>
        exportSnapshot({ store: side, snapshot: tag, since, fd, memory: MEMORY }),
      );
      await withFd(stream, 'r', (fd) =>
        importSnapshot({ store: this.#store, fd, memory: IMPORT_MEMORY, ioLog }),
      );
    });
  }

  async #logged(
    name: string,
    key: string,
    change: (ioLog: string) => Promise<void>,
  ): Promise<Crash> {
    const ioLog = join(this.folder, `log-${key}`);
    const before = fs.readFileSync(this.#store);
    const oldTags = await tagsOf(this.#store);
    await change(ioLog);
    return {
      name: `${name}, ${this.kind.name}`,
      folder: this.folder,
      image: this.#image,
      kind: this.kind,
      base: new Generation(before),
      result: new Generation(fs.readFileSync(this.#store)),
      log: [...readLog(fs.readFileSync(ioLog))],
      oldTags,
      newTags: await tagsOf(this.#store),
      images: this.#images,
    };
  }
}

/** The takes that are cut: the first, a dependent one, one into freed clusters, one of a grown image. */
export async function* crashesOf(
  folder: string,
  kind: StoreKind,
  seed: number,
): AsyncGenerator<Crash> {
  const workshop = new Workshop(folder, kind, seed);
  await workshop.createEmpty();
  yield await workshop.logged('the first take', 'one');
  workshop.change(0.1);
  yield await workshop.logged('a second take', 'two');
  workshop.change(0.3);
  await workshop.take('three');
  workshop.removeWithQemu('one');
  workshop.removeWithQemu('two');
  workshop.change(0.4);
  yield await workshop.logged('a take into freed clusters', 'four');
  workshop.grow();
  yield await workshop.logged('a take of a grown image', 'five');
}

/** The removals that are cut: of the oldest, of the newest, and of all that is left. */
export async function* removalsOf(
  folder: string,
  kind: StoreKind,
  seed: number,
): AsyncGenerator<Crash> {
  const workshop = new Workshop(folder, kind, seed);
  for (const tag of ['one', 'two', 'three', 'four']) {
    await workshop.take(tag);
    workshop.change(0.2);
  }
  yield await workshop.loggedRemoval('removal of the oldest', ['one']);
  yield await workshop.loggedRemoval('removal of the newest', ['four']);
  yield await workshop.loggedRemoval('removal of all', ['two', 'three']);
}

/** The imports that are cut: of what little, and of what much has changed. */
export async function* importsOf(
  folder: string,
  kind: StoreKind,
  seed: number,
): AsyncGenerator<Crash> {
  const workshop = new Workshop(folder, kind, seed);
  await workshop.take('one');
  workshop.change(0.1);
  yield await workshop.loggedImport('an import', 'two', 'one');
  workshop.change(0.6);
  yield await workshop.loggedImport('an import of much', 'three', 'two');
}

const tagsOf = async (store: string): Promise<string[]> =>
  (await list({ store })).map(({ tag }) => tag);

/** What has been judged. */
export interface Verdict {
  /** States held against the old and the new generation, byte by byte. */
  states: number;
  /** States of which qemu-img check, our list and our restore of every snapshot were asked. */
  judged: number;
  restored: number;
  converted: number;
}

/** Asks the tools about one state. Throws unless it is the generation it should be. */
const askTools = async (
  crash: Crash,
  state: Buffer,
  isNew: boolean,
  verdict: Verdict,
  pools: Pools,
) => {
  const path = join(crash.folder, 'cut');
  const output = join(crash.folder, 'restored');
  fs.writeFileSync(path, state);
  const report = check(path);
  if (report.status !== 0 || report.leaks + report.corruptions + report.checkErrors > 0) {
    throw new Error(`qemu-img check exits ${report.status}: ${report.text}`);
  }
  const tags = await tagsOf(path);
  const expected = isNew ? crash.newTags : crash.oldTags;
  if (tags.join() !== expected.join()) throw new Error(`it lists ${tags.join()}`);
  verdict.judged += 1;
  for (const [i, tag] of tags.entries()) {
    const image = crash.images.get(tag) as string;
    if ((verdict.judged + i) % 4 === 0) {
      convertSnapshot(path, tag, output);
      verdict.converted += 1;
      // QEMU's disks end on a sector.
      fs.truncateSync(output, fs.statSync(image).size);
    } else {
      await restore({ store: path, snapshot: tag, output, force: true, threads: 1, pools });
      verdict.restored += 1;
    }
    const at = firstDifference(output, image);
    if (at !== -1) throw new Error(`snapshot ${tag} differs from its image at byte ${at}`);
    fs.rmSync(output);
  }
};

/** Which of the two generations a state is; throws when it is neither. */
const generationOf = (crash: Crash, state: Buffer): 'old' | 'new' => {
  const isNew = crash.result.isPublishedIn(state);
  if (!isNew && !crash.base.isPublishedIn(state)) throw new Error('its header is a third one');
  const difference = (isNew ? crash.result : crash.base).firstDifference(state);
  if (difference === -1) return isNew ? 'new' : 'old';
  throw new Error(`cluster ${difference} of the ${isNew ? 'new' : 'old'} store is not as it was`);
};

/** The entry that publishes: the write of the header's sector. */
export const publishAt = (log: readonly LogEntry[]): number =>
  log.findLastIndex((entry) => entry.kind === 'write' && entry.position === 0);

export interface JudgeOptions {
  readonly seed: number;
  /** Random states per cut. */
  readonly perCut: number;
  /** Should the tools be asked about this state? `special` says: at a sync or the header's write. */
  readonly ask: (cut: number, n: number, special: boolean) => boolean;
}

/**
 * Judges every state of every cut byte by byte, and asks the tools about those that `ask` chooses.
 * Throws with the seed and the cut when one is neither old nor new, or not the one it must be.
 */
export const judge = async (crash: Crash, options: JudgeOptions): Promise<Verdict> => {
  const pools = new Pools();
  try {
    return await judgeWith(crash, options, pools);
  } finally {
    await pools.close();
  }
};

const judgeWith = async (crash: Crash, options: JudgeOptions, pools: Pools): Promise<Verdict> => {
  const verdict: Verdict = { states: 0, judged: 0, restored: 0, converted: 0 };
  const cuts = new PowerCuts(crash.base.bytes, crash.log);
  const publish = publishAt(crash.log);
  for (let cut = 0; cut < cuts.count; cut += 1) {
    const random = new Random(options.seed + cut);
    const special = [cut - 1, cut].some((i) => i === publish || crash.log[i]?.kind === 'sync');
    let n = 0;
    for (const state of cuts.states(cut, random, options.perCut)) {
      const where = `${crash.name}, cut ${cut} of ${cuts.count - 1}, state ${n}, seed ${options.seed}`;
      try {
        const generation = generationOf(crash, state);
        verdict.states += 1;
        if (cut <= publish && generation === 'new') throw new Error('it is new too early');
        if (cut === crash.log.length && generation === 'old') throw new Error('it is still old');
        if (options.ask(cut, n, special)) {
          await askTools(crash, state, generation === 'new', verdict, pools);
        }
      } catch (error) {
        throw new Error(`${where}: ${(error as Error).message}`, { cause: error });
      }
      n += 1;
    }
  }
  return verdict;
};
