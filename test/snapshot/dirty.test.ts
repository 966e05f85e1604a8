// Takes that follow a dirty source: what they read, when they do not believe it, and that they are never wrong.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  createEmitter,
  type DirtySource,
  type Fault,
  list,
  restore,
  type TakeOptions,
  type TakeResult,
  take,
} from '../../snapshot/index.js';
import { diskDir, Random, randomBytes, sameFile, tempDir } from '../tools/files.js';
import { Judge } from '../tools/judge.js';
import { nvsnap } from '../tools/nvsnap.js';
import { Tracker, type TrackerKind } from '../tools/tracker.js';

const MiB = 2 ** 20;
const PAGE = 4096;
const CLUSTER = 65536;

t.setTimeout(240_000);

/** A tracker, a store for its image, and how to take. */
const openTrial = (t: Test, kind: TrackerKind, size: number, clusterSize = CLUSTER) => {
  // Where data are is asked of the file system: a disk's for one kind.
  const folder = kind === 'holes' ? diskDir(t) : tempDir(t);
  const tracker = new Tracker(folder, kind, size, randomBytes(Math.min(size, 16 * MiB), 1));
  const store = join(folder, 'store.qcow2');
  const judge = new Judge(folder, store);
  const notices: string[] = [];
  const events = createEmitter();
  events.on('notice', (sentence) => notices.push(sentence));
  const { image, spec } = tracker;
  const takeAs = (tag: string, options: Partial<TakeOptions> = {}): Promise<TakeResult> => {
    const state = judge.remember(image, tag);
    return take({ image, store, tag, clusterSize, dirty: spec, events, ...options }).catch(
      (error) => {
        judge.forget(state.tag);
        throw error;
      },
    );
  };
  /** A take as it should be: the tracker writes down what it knows before, and begins anew after it. */
  const track = async (tag: string, options?: Partial<TakeOptions>): Promise<TakeResult> => {
    tracker.save();
    const result = await takeAs(tag, options);
    tracker.clear();
    return result;
  };
  return { folder, tracker, store, judge, notices, takeAs, track };
};

for (const kind of ['bitmap', 'holes'] as const) {
  for (const clusterSize of [PAGE, CLUSTER]) {
    t.test(`${kind}, clusters of ${clusterSize}: only what it names is read`, async (t) => {
      const size = 12 * MiB + 1000;
      const { tracker, judge, notices, track } = openTrial(t, kind, size, clusterSize);
      const random = new Random(clusterSize);
      t.match(await track('t0'), { dirty: { source: kind, fallback: null, audit: null } });
      for (let round = 1; round <= 5; round += 1) {
        const touched = new Set<number>();
        for (let i = 0; i < 12; i += 1) {
          // Noise, zeros over data, data over zeros, the last byte.
          const length = 1 + random.below(3 * PAGE);
          const offset = i === 0 ? size - 1 : random.below(size - length);
          const bytes = i % 3 === 0 ? Buffer.alloc(length) : random.bytes(length);
          tracker.write(offset, i === 0 ? Buffer.from([round]) : bytes);
          const last = Math.floor((i === 0 ? offset : offset + length - 1) / PAGE);
          for (let page = Math.floor(offset / PAGE); page <= last; page += 1) {
            touched.add(Math.floor((page * PAGE) / clusterSize));
          }
        }
        const { dirty, readBytes } = await track(`t${round}`);
        t.match(dirty, { fallback: null, audit: { clusters: Number, missed: 0 } });
        const named = [...touched].reduce(
          (sum, c) => sum + Math.min(clusterSize, size - c * clusterSize),
          0,
        );
        t.equal(dirty.candidateBytes, named, 'candidates are the clusters that were touched');
        t.ok(readBytes <= named, 'no more is read', { readBytes, named });
      }
      const { dirty, readBytes, storedClusters } = await track('unchanged');
      t.match(
        { dirty, readBytes, storedClusters },
        {
          dirty: { candidateBytes: 0, audit: { clusters: dirty.audit?.clusters } },
          readBytes: 0,
          storedClusters: 0,
        },
      );
      t.same(notices, [], 'there is nothing to be said');
      await judge.all(t);
    });
  }
}

t.test('what cannot be believed ends in a full scan that says why', async (t) => {
  const { tracker, store, judge, notices, takeAs, track } = openTrial(t, 'bitmap', 8 * MiB);
  const fallsBack = async (why: RegExp, result: Promise<TakeResult>): Promise<void> => {
    const { fallback, candidateBytes } = (await result).dirty;
    t.match(fallback, why);
    t.equal(candidateBytes, 8 * MiB);
    t.match(notices.splice(0), [why], 'it is said');
  };
  await take({ image: tracker.image, store, tag: 'by a full scan' });
  judge.remember(tracker.image, 'by a full scan');
  await fallsBack(/does not say which snapshot it counts from/, track('a'));
  tracker.write(0, Buffer.from('b'));
  t.match((await track('b')).dirty, { fallback: null, candidateBytes: CLUSTER });
  tracker.write(5 * CLUSTER, Buffer.from('c'));
  tracker.save();
  await fallsBack(/counts from snapshot \S+, not from/, takeAs('on a', { parent: 'a' }));
  tracker.clear();
  tracker.write(7 * CLUSTER, Buffer.from('d'));
  await fallsBack(/counts from snapshot \S+, not from/, track('on b', { parent: 'b' }));
  tracker.write(9 * CLUSTER, Buffer.from('e'));
  t.match((await track('on that')).dirty, { fallback: null }, 'and the next is believed again');
  tracker.write(11 * CLUSTER, Buffer.from('f'));
  const old = new Date(Date.now() - 3_600_000);
  fs.utimesSync(tracker.file, old, old);
  await fallsBack(/last written before the parent was taken/, takeAs('forgotten to be renewed'));
  // Another file under the same name: a restored image, say.
  fs.copyFileSync(tracker.image, `${tracker.image}.new`);
  fs.renameSync(`${tracker.image}.new`, tracker.image);
  tracker.writeUnseen(13 * CLUSTER, Buffer.from('g'));
  await fallsBack(/is about another image file/, track('another file'));
  fs.writeFileSync(`${tracker.file}.since`, '{"since": 1');
  tracker.writeUnseen(15 * CLUSTER, Buffer.from('h'));
  await fallsBack(/does not say which snapshot/, track('a damaged note'));
  await judge.all(t);
});

t.test('a parent that is named must be the parent', async (t) => {
  const { tracker, judge, takeAs, track } = openTrial(t, 'bitmap', 2 * MiB);
  const { uuid } = await track('a');
  tracker.write(CLUSTER, Buffer.from('b'));
  tracker.save();
  const dirty = `bitmap:${tracker.file},since=${uuid}`;
  t.match((await takeAs('b', { dirty })).dirty, { fallback: null, candidateBytes: CLUSTER });
  await t.rejects(takeAs('c', { dirty }), {
    code: 'dirty-unsuitable',
    message: new RegExp(`counts from ${uuid}, but the parent is`),
  } satisfies { code: Fault['code']; message: RegExp });
  await judge.all(t);
});

t.test('a failed take leaves the dirt where it is', async (t) => {
  const { folder, tracker, store, judge, track } = openTrial(t, 'bitmap', 8 * MiB);
  await track('a');
  tracker.write(3 * CLUSTER, Buffer.from('b'));
  tracker.save();
  const { image, spec: dirty } = tracker;
  const aborted = AbortSignal.abort();
  await t.rejects(take({ image, store, dirty, tag: 'b', signal: aborted }), { code: 'cancelled' });
  await t.rejects(take({ image, store: join(folder, 'x', 'y'), dirty }), {
    code: 'store-unusable',
  });
  tracker.write(4 * CLUSTER, Buffer.from('c'));
  t.match((await track('b')).dirty, { fallback: null, candidateBytes: 2 * CLUSTER });
  await judge.all(t);
});

t.test('an audit finds as many lies as chance allows', async (t) => {
  // 256 clean clusters, of which `missed` have changed: a sample of 64 misses all of them by chance
  const size = 16 * MiB;
  const clusters = size / CLUSTER;
  const missed = 4;
  let chance = 1;
  for (let i = 0; i < missed; i += 1) chance *= (clusters - 64 - i) / (clusters - i);
  const { tracker, store, judge, track } = openTrial(t, 'bitmap', size);
  await track('a');
  for (let i = 0; i < missed; i += 1) tracker.writeUnseen(i * 61 * CLUSTER, Buffer.from('unseen'));
  const before = fs.readFileSync(store);
  const { image, spec: dirty } = tracker;
  let caught = 0;
  const tries = 24;
  for (let auditSeed = 0; auditSeed < tries; auditSeed += 1) {
    fs.writeFileSync(store, before);
    fs.rmSync(`${tracker.file}.since`, { force: true });
    const since = (await list({ store }))[0]?.uuid;
    tracker.save();
    const tag = `seed ${auditSeed}`;
    const { dirty: report } = await take({
      image,
      store,
      tag,
      dirty: `${dirty},since=${since}`,
      auditSeed,
    });
    t.match(report.audit, { seed: auditSeed, clusters: 64, of: clusters });
    if (report.fallback === null) continue;
    caught += 1;
    t.match(report.fallback, /it missed changes: [1-4] of 64 clusters/);
    // Of all of them a few suffice: what is read does not depend on the seed.
    if (caught > 3) continue;
    const output = join(tempDir(t), 'out');
    await restore({ store, snapshot: tag, output });
    t.ok(sameFile(output, image), 'and then nothing is missed');
  }
  const expected = (1 - chance) * tries;
  const deviation = Math.sqrt(tries * chance * (1 - chance));
  t.comment(`${caught} of ${tries} lies found, ${expected.toFixed(1)} expected`);
  t.ok(Math.abs(caught - expected) < 4 * deviation, 'as the arithmetic says', { caught, expected });
  fs.writeFileSync(store, before);
  await judge.all(t);
});

t.test('one page missing in ten thousand is found when everything is audited', async (t) => {
  const { tracker, judge, notices, track } = openTrial(t, 'bitmap', 40 * MiB);
  await track('a');
  for (let page = 0; page < 10_000; page += 1) {
    const write = page === 4711 ? tracker.writeUnseen : tracker.write;
    if (page % 3 === 0 || page === 4711) write.call(tracker, page * PAGE, Buffer.from('x'));
  }
  // Its cluster is named anyway, for the pages beside it.
  t.match((await track('b', { audit: 100 })).dirty, { fallback: null });
  tracker.writeUnseen(4711 * PAGE, Buffer.from('y'));
  t.match((await track('c', { audit: 100 })).dirty, { fallback: /1 of \d+ clusters/ });
  t.equal(notices.length, 1);
  tracker.writeUnseen(4711 * PAGE, Buffer.from('z'));
  t.match((await track('trusted', { audit: 0 })).dirty, { fallback: null, audit: null });
  judge.forget('trusted');
  await judge.all(t);
});

t.test('an image that grows or shrinks', async (t) => {
  const { tracker, folder, store, judge, track } = openTrial(t, 'holes', 4 * MiB + 5);
  await track('a');
  const resized = new Tracker(join(folder), 'holes', 9 * MiB + 7, fs.readFileSync(tracker.image));
  const { image, spec: dirty } = resized;
  resized.save();
  // The tracker knows of no write: what is new has to be looked at all the same.
  resized.writeUnseen(7 * MiB, randomBytes(2 * MiB, 3));
  judge.remember(image, 'grown');
  const since = (await list({ store }))[0]?.uuid;
  const grown = await take({ image, store, tag: 'grown', dirty: `${dirty},since=${since}` });
  t.match(grown.dirty, { fallback: null, audit: { missed: 0 } });
  fs.truncateSync(image, 2 * MiB + 1);
  fs.truncateSync(resized.file, 2 * MiB + 1);
  judge.remember(image, 'shrunk');
  const next = `${dirty},since=${grown.uuid}`;
  t.match((await take({ image, store, tag: 'shrunk', dirty: next })).dirty, { fallback: null });
  await judge.all(t);
});

for (const clusterSize of [PAGE, CLUSTER, 2 * MiB]) {
  t.test(`a file that holds only changes, clusters of ${clusterSize}`, async (t) => {
    const size = 12 * MiB + 4096 * 3;
    const { folder, tracker, store, judge, takeAs } = openTrial(t, 'holes', size, clusterSize);
    await takeAs('t0', { dirty: 'scan' });
    const random = new Random(clusterSize);
    for (let round = 1; round <= 4; round += 1) {
      for (let i = 0; i < 10; i += 1) {
        const length = 1 + random.below(2 * PAGE);
        const bytes = i % 2 === 0 ? Buffer.alloc(length) : random.bytes(length);
        tracker.write(random.below(size - length), bytes);
      }
      const image = join(folder, `changes-${round}`);
      tracker.saveChanges(image);
      tracker.clear();
      judge.remember(tracker.image, `t${round}`);
      const result = await take({ image, store, tag: `t${round}`, dirty: 'holes' });
      t.match(result.dirty, { source: 'holes', fallback: null, audit: null });
    }
    await judge.all(t);
    const refused = (name: string, problem: RegExp, options: Partial<TakeOptions> = {}) =>
      t.rejects(take({ image: join(folder, name), store, dirty: 'holes', ...options }), {
        code: 'changes-unsuitable',
        message: problem,
      } satisfies { code: Fault['code']; message: RegExp });
    await refused('changes-4', /not newer than the file that the parent was made from/);
    await refused('changes-3', /not newer than the file that the parent was made from/);
    await refused('changes-4', /no parent/, { parent: 'none' });
    fs.copyFileSync(tracker.image, join(folder, 'dense'));
    fs.writeFileSync(join(folder, 'dense'), randomBytes(size, 1));
    await refused('dense', /no holes/);
    fs.truncateSync(join(folder, 'dense'), size - 1);
    await refused('dense', /bytes, but the parent has/);
  });
}

t.test('a file that holds only changes, and becomes shorter while it is read', async (t) => {
  const size = 6 * MiB;
  const folder = diskDir(t);
  const [image, diff, store] = ['image', 'diff', 'store'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  fs.writeFileSync(image, randomBytes(size, 1));
  await take({ image, store, tag: 'whole' });
  // All is there as soon as somebody looks, or once all has been put together.
  for (const when of ['first', 'last'] as const) {
    fs.rmSync(diff, { force: true });
    fs.writeFileSync(diff, '');
    fs.truncateSync(diff, size);
    const fd = fs.openSync(diff, 'r+');
    fs.writeSync(fd, randomBytes(4 * MiB, 2), 0, 4 * MiB, 2 * MiB - 500);
    fs.closeSync(fd);
    const events = createEmitter();
    events.on('progress', ({ verb, doneBytes, totalBytes }) => {
      const now =
        when === 'first' ? verb === 'overlay' : verb === 'take' && doneBytes === totalBytes;
      if (now && fs.statSync(diff).size === size) fs.truncateSync(diff, 3 * MiB);
    });
    await t.rejects(take({ image: diff, store, dirty: 'holes', otherImage: true, events }), {
      code: 'image-shrank',
      details: { expected: size, got: 3 * MiB },
    });
    t.equal(fs.statSync(diff).size, 3 * MiB, when);
  }
  t.same(
    (await list({ store })).map(({ tag }) => tag),
    ['whole'],
  );
});

t.test('a source of the caller, and one that breaks its word', async (t) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store')];
  fs.writeFileSync(image, randomBytes(MiB, 1));
  const source = (extents: { start: number; end: number }[]): DirtySource => ({
    name: 'mine',
    certainty: 'superset',
    begin: async () => ({
      id: 'mine-1',
      changes: { known: true, extents: () => extents },
      commit: async () => {},
      dispose: async () => {},
    }),
  });
  await take({ image, store, dirty: source([]) });
  t.match(await take({ image, store, dirty: source([{ start: 5, end: 6 }]) }), {
    dirty: { source: 'mine', candidateBytes: CLUSTER },
  });
  for (const bad of [
    [{ start: 5, end: 5 }],
    [{ start: -1, end: 5 }],
    [{ start: 0, end: MiB + 1 }],
    [
      { start: 9, end: 10 },
      { start: 0, end: 1 },
    ],
    [{ start: Number.NaN, end: 5 }],
  ]) {
    const { fallback } = (await take({ image, store, dirty: source(bad) })).dirty;
    t.match(fallback, /named a range out of order or outside the image/);
  }
  const broken: DirtySource = {
    ...source([]),
    begin: async () => {
      throw new Error('the tracker is gone');
    },
  };
  await t.rejects(take({ image, store, dirty: broken }), {
    code: 'dirty-unsuitable',
    message: /mine cannot be used: the tracker is gone/,
  } satisfies { code: Fault['code']; message: RegExp });
  for (const options of [{ audit: -1 }, { audit: 101 }, { auditSeed: 1.5 }, { auditSeed: -1 }]) {
    await t.rejects(take({ image, store, ...options }), { code: 'usage' });
  }
});

t.test('a share of nothing audits nothing, as the command and the library have it', async (t) => {
  const { tracker, store, track } = openTrial(t, 'bitmap', 4 * MiB);
  await track('a');
  const { audit } = (await track('b', { audit: 0 })).dirty;
  t.equal(audit, null);
  const args = ['take', tracker.image, store, '--dirty', tracker.spec, '--json'];
  for (const words of [['--audit', '0'], ['--audit', '0.0'], ['--trust']]) {
    tracker.save();
    const { status, stdout } = await nvsnap([...args, ...words]);
    t.equal(status, 0, words.join(' '));
    t.match(JSON.parse(stdout), { dirty: { fallback: null, audit: null } });
  }
  for (const share of ['-1', '101', 'x']) {
    const advice = /is not a share in percent\.\nGive 0 \(for none\) to 100/;
    t.match(await nvsnap([...args, `--audit=${share}`]), { status: 2, stderr: advice }, share);
  }
});
