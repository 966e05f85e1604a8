// Golden counts: what a GiB costs in calls, bytes, copies and messages. They are the same on every machine and on a
// busy one, so they notice what no clock could: a read too many per piece, a write split in two, a sync more.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { changeImage } from '../../bench/workload/change.js';
import { Random } from '../../bench/workload/random.js';
import { type Counts, counted, type Kind } from '../tools/counted.js';
import { tempDir } from '../tools/files.js';

t.setTimeout(120_000);

const MiB = 2 ** 20;
const CLUSTER = 65_536;
const [SMALL, LARGE] = [32 * MiB, 64 * MiB];
const IN_A_GIB = 2 ** 30 / (LARGE - SMALL);
/** Batches of the larger image, of 4 MiB each. */
const BATCHES = 16;
/** Threads of which start at once: when they come would depend on the clock, and what they load is counted. */
const STAGES = ['scan', 'write'] as const;
/** What threads are told and say at their start. */
const MESSAGES_AT_START = 24;

/** Clusters of which none is like another, and each gets half as large: the same bytes wherever this runs. */
const makeImage = (path: string, size: number): string => {
  const random = new Random(1);
  const fd = fs.openSync(path, 'wx');
  const cluster = Buffer.alloc(CLUSTER);
  random.fill(cluster.subarray(0, CLUSTER / 2));
  for (let at = 0; at < size; at += CLUSTER) {
    cluster.writeUInt32LE(random.word(), 0);
    fs.writeSync(fd, cluster, 0, CLUSTER, at);
  }
  fs.closeSync(fd);
  return path;
};

/** What a GiB more costs: start-up and what every store has cancel out. */
const perGiB = (small: Counts, large: Counts, kind: Kind): { calls: number; bytes: number } => ({
  calls: (large[kind].calls - small[kind].calls) * IN_A_GIB,
  bytes: (large[kind].bytes - small[kind].bytes) * IN_A_GIB,
});

t.test('what verbs cost', (t) => {
  const folder = tempDir(t);
  const small = makeImage(join(folder, 'small'), SMALL);
  const large = makeImage(join(folder, 'large'), LARGE);
  const store = (name: string): string => join(folder, `${name}.qcow2`);

  const first = (name: string, image: string, compression: string): Counts =>
    counted(folder, 'take', { image, store: store(name), compression, tag: 'first' }, STAGES);
  const [plainSmall, plainLarge] = [first('a', small, 'none'), first('b', large, 'none')];
  t.same(
    perGiB(plainSmall, plainLarge, 'read'),
    { calls: 2048, bytes: 2 ** 30 },
    'a first take reads every byte once, in pieces of 512 KiB',
  );
  t.equal(perGiB(plainSmall, plainLarge, 'write').bytes, 2 ** 30, 'it writes every byte once');
  t.equal(plainLarge.write.calls, BATCHES + 11, 'a batch is one write, tables and header eleven');
  t.equal(plainLarge.sync.calls, 4, 'a new file, its name, the data and the header');
  t.same(
    perGiB(plainSmall, plainLarge, 'writeback'),
    { calls: 256, bytes: 2 ** 30 },
    'every 4 MiB are on their way to the disk at once',
  );
  t.equal(plainLarge.copy.calls, 0, 'nothing is copied');

  const packed = first('c', large, 'zstd');
  t.equal(packed.write.calls, BATCHES + 11, 'compressed too');
  t.equal(packed.sync.calls, 4);
  t.equal(packed.copy.calls, 0, 'payloads are made where they are written from');
  const hops = 2 * BATCHES * 4;
  t.ok(
    packed.message.calls <= hops + MESSAGES_AT_START,
    'a batch is two messages at a stage, and never more',
    { found: packed.message.calls },
  );

  const next = counted(folder, 'take', { image: large, store: store('c'), tag: 'same' });
  t.equal(
    next.read.calls - packed.read.calls < BATCHES * 8,
    true,
    'tables are read by the cluster',
  );
  t.equal(next.write.calls, 6, 'an unchanged image is six writes');
  t.ok(next.write.bytes < 6 * CLUSTER, 'of tables');
  t.equal(next.sync.calls, 2);
  t.equal(next.copy.calls, 0);

  changeImage(large, { clusterSize: CLUSTER, count: 8, seed: 3 });
  const changed = counted(folder, 'take', { image: large, store: store('c'), tag: 'changed' });
  t.same(changed.copy, { calls: 8, bytes: 8 * CLUSTER }, 'what changed is copied once');
  t.equal(changed.sync.calls, 2);

  const restore = (name: string): Counts =>
    counted(folder, 'restore', {
      store: store(name),
      snapshot: 'first',
      output: join(folder, 'out'),
      force: true,
    });
  const restored = restore('b');
  t.equal(restored.write.calls, BATCHES, 'a restore writes a batch at once');
  t.equal(restored.write.bytes, LARGE);
  t.same(restored.writeback, { calls: BATCHES, bytes: LARGE }, 'and has it written back at once');
  t.same([restored.sync.calls, restored.copy.calls], [2, 0], 'the data, and the name');
  t.equal(
    perGiB(restore('a'), restored, 'read').bytes,
    2 ** 30,
    'and reads every stored byte once',
  );
  t.end();
});
