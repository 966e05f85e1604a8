// A store beside a model of it that is nothing but copies of the image in memory: what is done to one is done to
// the other, in any order, and at the end both must hold the same.

import fs from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { KiB, MiB, readLog } from '../../disk/index.js';
import {
  type CodecName,
  check,
  convert,
  exportSnapshot,
  Fault,
  importSnapshot,
  list,
  prune,
  remove,
  restore,
  take,
  verify,
} from '../../snapshot/index.js';
import { Random } from './files.js';
import { MAIN, start } from './nvsnap.js';
import { PowerCuts } from './powercut.js';
import { checkClean, convertSnapshot, check as qemuCheck, qemuImg } from './qemu.js';

const MEMORY = 16 * MiB;
/** A stream's batches have a size of their own. */
const IMPORT_MEMORY = 128 * MiB;
const MOST_BYTES = 1.5 * MiB;

export interface Model {
  image: Buffer;
  /** Images by tag, oldest first. */
  readonly snapshots: Map<string, Buffer>;
  /** What was shipped to another store. */
  readonly shipped: Map<string, Buffer>;
  /** Tags are never used again. */
  tags: number;
}

/** The files that go with a model. */
export interface Real {
  readonly folder: string;
  readonly image: string;
  readonly store: string;
  readonly backup: string;
  clusterSize: number;
  compression: CodecName;
  /** How many commands were run, by name. */
  readonly counts: Record<string, number>;
}

type Command = fc.AsyncCommand<Model, Real>;

const ensure = (condition: boolean, what: string): void => {
  if (!condition) throw new Error(what);
};

/** One kind of command: `run` changes both, and throws when they part. */
class Step implements Command {
  readonly #name: string;
  readonly #may: (model: Model) => boolean;
  readonly #run: (model: Model, real: Real) => Promise<void>;

  constructor(
    name: string,
    may: (model: Model) => boolean,
    run: (model: Model, real: Real) => Promise<void>,
  ) {
    this.#name = name;
    this.#may = may;
    this.#run = run;
  }

  check(model: Readonly<Model>): boolean {
    return this.#may(model);
  }

  async run(model: Model, real: Real): Promise<void> {
    const kind = this.#name.split(' ')[0] as string;
    real.counts[kind] = (real.counts[kind] ?? 0) + 1;
    await this.#run(model, real);
  }

  toString(): string {
    return this.#name;
  }
}

const always = (): boolean => true;
const hasSnapshots = ({ snapshots }: Model): boolean => snapshots.size > 0;

/** One of the tags, by a number. */
const tagAt = ({ snapshots }: Model, n: number): string =>
  [...snapshots.keys()][n % snapshots.size] as string;

const tagsOf = async (store: string): Promise<string[]> =>
  fs.existsSync(store) ? (await list({ store })).map(({ tag }) => tag) : [];

/** Writes to the image; the last way makes it longer or shorter. */
const write = (seed: number, way: number): Command =>
  new Step(`write ${seed} ${way}`, always, async (model, { image }) => {
    const random = new Random(seed);
    const at = random.below(Math.max(1, model.image.length));
    const length = Math.min(model.image.length - at, random.below(way === 0 ? 100_000 : 9000));
    if (way === 3) {
      const size = random.below(MOST_BYTES);
      model.image = Buffer.concat([model.image], size);
    } else {
      const bytes = way === 0 ? Buffer.alloc(length) : random.bytes(length);
      if (way === 2) bytes.fill('a text that is compressed ');
      bytes.copy(model.image, at);
    }
    fs.writeFileSync(image, model.image);
  });

const takeOptions = (model: Model, real: Real, parent: number | undefined, tag: string) => {
  const { image, store, clusterSize, compression } = real;
  const base =
    parent === undefined || model.snapshots.size === 0 ? undefined : tagAt(model, parent);
  const made = fs.existsSync(store) ? {} : { clusterSize, compression };
  return { image, store, tag, parent: base, memory: MEMORY, otherImage: true, ...made };
};

const doTake = (parent: number | undefined): Command =>
  new Step(`take ${parent ?? ''}`, always, async (model, real) => {
    model.tags += 1;
    const tag = `t${model.tags}`;
    await take(takeOptions(model, real, parent, tag));
    model.snapshots.set(tag, Buffer.from(model.image));
  });

/** A take that is cancelled at some moment: it is there whole, or not at all. */
const cancelledTake = (ms: number): Command =>
  new Step(`cancel ${ms}`, always, async (model, real) => {
    model.tags += 1;
    const tag = `t${model.tags}`;
    const signal = AbortSignal.timeout(ms);
    const taken = await take({ ...takeOptions(model, real, undefined, tag), signal }).then(
      () => true,
      (error: unknown) => {
        ensure(error instanceof Fault && error.code === 'cancelled', `not cancelled: ${error}`);
        return false;
      },
    );
    if (taken) model.snapshots.set(tag, Buffer.from(model.image));
  });

/**
 * A take in a process that may make files only so long, which ends it at some write: the store is as it was. With
 * enough room left it is there.
 */
const failingTake = (kib: number): Command =>
  new Step(`fail ${kib}`, hasSnapshots, async (model, real) => {
    model.tags += 1;
    const tag = `t${model.tags}`;
    const limit = Math.ceil(fs.statSync(real.store).size / KiB) + kib;
    const script = `ulimit -f ${limit}; exec "$0" "$@"`;
    const words = [MAIN, 'take', real.image, real.store, '--tag', tag, '--other-image', '--json'];
    const { ended } = start('bash', ['-c', script, process.execPath, ...words]);
    const { status, stdout } = await ended;
    if (status === 0) model.snapshots.set(tag, Buffer.from(model.image));
    else ensure(stdout.includes('"io-failed"'), `${status}: ${stdout}`);
  });

/** The power fails somewhere in a change: the store is the old one or the new one. */
const cut = async (
  real: Real,
  seed: number,
  change: (ioLog: string) => Promise<unknown>,
): Promise<void> => {
  const { folder, store } = real;
  const base = fs.readFileSync(store);
  const ioLog = join(folder, 'log');
  fs.rmSync(ioLog, { force: true });
  await change(ioLog);
  const log = [...readLog(fs.readFileSync(ioLog))];
  const random = new Random(seed);
  const cuts = new PowerCuts(base, log);
  const states = [...cuts.states(random.below(log.length + 1), random, 1)].map((state) =>
    Buffer.from(state),
  );
  fs.writeFileSync(store, states[random.below(states.length)] as Buffer);
};

const cutTake = (seed: number): Command =>
  new Step(`cutTake ${seed}`, hasSnapshots, async (model, real) => {
    model.tags += 1;
    const tag = `t${model.tags}`;
    await cut(real, seed, (ioLog) => take({ ...takeOptions(model, real, undefined, tag), ioLog }));
    if ((await tagsOf(real.store)).includes(tag)) {
      model.snapshots.set(tag, Buffer.from(model.image));
    }
  });

const cutRemove = (seed: number, n: number): Command =>
  new Step(`cutRemove ${seed} ${n}`, hasSnapshots, async (model, real) => {
    const tag = tagAt(model, n);
    const { store } = real;
    await cut(real, seed, (ioLog) => remove({ store, snapshots: [tag], ioLog }));
    if (!(await tagsOf(store)).includes(tag)) model.snapshots.delete(tag);
  });

const doRemove = (n: number): Command =>
  new Step(`remove ${n}`, hasSnapshots, async (model, { store }) => {
    const tag = tagAt(model, n);
    await remove({ store, snapshots: [tag] });
    model.snapshots.delete(tag);
  });

const doPrune = (last: number): Command =>
  new Step(`prune ${last}`, hasSnapshots, async (model, { store }) => {
    await prune({ store, keep: { last } });
    const kept = new Set(await tagsOf(store));
    ensure(kept.size === Math.min(last, model.snapshots.size), 'not as many as were to be kept');
    for (const tag of [...model.snapshots.keys()]) if (!kept.has(tag)) model.snapshots.delete(tag);
  });

/** Stock QEMU removes one; after the newest it makes another the current state. */
const qemuRemove = (n: number): Command =>
  new Step(
    `qemu ${n}`,
    ({ snapshots }) => snapshots.size > 1,
    async (model, { store }) => {
      const tag = tagAt(model, n);
      ensure(qemuImg(['snapshot', '-d', tag, store]).status === 0, 'qemu-img does not remove it');
      model.snapshots.delete(tag);
      const last = [...model.snapshots.keys()].at(-1) as string;
      ensure(qemuImg(['snapshot', '-a', last, store]).status === 0, 'qemu-img does not apply it');
      // Where the disk of that one is smaller, QEMU forgets what the longer table's end led to.
      const { leaks, corruptions } = qemuCheck(store);
      ensure(corruptions === 0, 'qemu-img has damaged it');
      if (leaks > 0) ensure(qemuImg(['check', '-r', 'leaks', store]).status === 0, 'not repaired');
    },
  );

const doRestore = (n: number, inPlace: boolean): Command =>
  new Step(`restore ${n} ${inPlace}`, hasSnapshots, async (model, { folder, store }) => {
    const snapshot = tagAt(model, n);
    const output = join(folder, 'output');
    // In place, whatever the last one left there is brought up to date.
    const way = inPlace && fs.existsSync(output) ? { inPlace: true } : { force: true };
    await restore({ store, snapshot, output, memory: MEMORY, ...way });
    const wanted = model.snapshots.get(snapshot) as Buffer;
    ensure(fs.readFileSync(output).equals(wanted), `${snapshot} is restored otherwise`);
  });

/** Goes on with a converted store in place of the old one. */
const doConvert = (bits: number, compression: CodecName): Command =>
  new Step(`convert ${bits} ${compression}`, hasSnapshots, async (_, real) => {
    const output = join(real.folder, 'converted');
    real.clusterSize = 2 ** bits;
    real.compression = compression;
    const { store, clusterSize } = real;
    await convert({ store, output, clusterSize, compression, memory: 4 * MEMORY });
    fs.renameSync(output, store);
    fs.rmSync(real.backup, { force: true });
  });

/** Ships one snapshot, since one that is there already if there is any. */
const ship = (n: number): Command =>
  new Step(`ship ${n}`, hasSnapshots, async (model, { folder, store, backup }) => {
    const snapshot = tagAt(model, n);
    if (!fs.existsSync(backup)) model.shipped.clear();
    if (model.shipped.has(snapshot)) return;
    const since = [...model.shipped.keys()].findLast((tag) => model.snapshots.has(tag));
    const stream = join(folder, 'stream');
    const out = fs.openSync(stream, 'w');
    await exportSnapshot({ store, snapshot, since, fd: out, memory: MEMORY });
    fs.closeSync(out);
    const fd = fs.openSync(stream, 'r');
    await importSnapshot({ store: backup, fd, memory: IMPORT_MEMORY });
    fs.closeSync(fd);
    model.shipped.set(snapshot, model.snapshots.get(snapshot) as Buffer);
  });

/** Every end is judged by stock tools and by restoring everything. */
export const judge = async (
  store: string,
  snapshots: ReadonlyMap<string, Buffer>,
): Promise<void> => {
  if (!fs.existsSync(store)) {
    ensure(snapshots.size === 0, 'there is no store');
    return;
  }
  ensure((await tagsOf(store)).join() === [...snapshots.keys()].join(), 'other snapshots');
  checkClean(store);
  const own = await check({ store });
  ensure(own.corruptions + own.leaks === 0, 'our check finds something');
  ensure((await verify({ store, memory: MEMORY })).damagedClusters === 0, 'damage');
  for (const [snapshot, wanted] of snapshots) {
    const [ours, theirs] = [`${store}.ours`, `${store}.theirs`];
    await restore({ store, snapshot, output: ours, force: true, memory: MEMORY });
    ensure(fs.readFileSync(ours).equals(wanted), `${snapshot} is not as it was`);
    convertSnapshot(store, snapshot, theirs);
    const bytes = fs.readFileSync(theirs);
    ensure(bytes.subarray(0, wanted.length).equals(wanted), `${snapshot} by qemu-img`);
    ensure(
      bytes.subarray(wanted.length).every((byte) => byte === 0),
      `${snapshot} by qemu-img: not zeros behind its end`,
    );
  }
};

const small = fc.nat(9);
const seed = fc.nat(2 ** 31);

/** Sequences of commands, at most so many in each. */
export const sequences = (most: number) =>
  fc.commands(
    [
      fc.tuple(seed, fc.nat(3)).map(([s, way]) => write(s, way)),
      fc.tuple(seed, fc.nat(2)).map(([s, way]) => write(s, way)),
      fc.option(small, { nil: undefined }).map(doTake),
      fc.constant(undefined).map(doTake),
      fc.nat(25).map(cancelledTake),
      fc.nat(700).map(failingTake),
      seed.map(cutTake),
      fc.tuple(seed, small).map(([s, n]) => cutRemove(s, n)),
      small.map(doRemove),
      fc.integer({ min: 1, max: 6 }).map(doPrune),
      small.map(qemuRemove),
      fc.tuple(small, fc.boolean()).map(([n, inPlace]) => doRestore(n, inPlace)),
      fc
        .tuple(fc.constantFrom(12, 14, 16), fc.constantFrom<CodecName>('zstd', 'zlib', 'none'))
        .map(([bits, codec]) => doConvert(bits, codec)),
      small.map(ship),
    ],
    { maxCommands: most, size: 'max' },
  );

/** A fresh pair. */
export const begin = (folder: string, bits: number, compression: CodecName) => {
  const image = join(folder, 'image');
  const model: Model = {
    image: new Random(bits).bytes(300 * KiB + 5),
    snapshots: new Map(),
    shipped: new Map(),
    tags: 0,
  };
  fs.writeFileSync(image, model.image);
  const real: Real = {
    folder,
    image,
    store: join(folder, 'store.qcow2'),
    backup: join(folder, 'backup.qcow2'),
    clusterSize: 2 ** bits,
    compression,
    counts: {},
  };
  return { model, real };
};
