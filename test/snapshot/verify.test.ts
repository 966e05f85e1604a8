// Verification reads every stored cluster once, notices each that is not as it was taken, and says whom it
// hurts: held against a model of which snapshots share what.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { KiB, MiB } from '../../disk/index.js';
import { offsetOf } from '../../qcow2/index.js';
import { type Fault, restore, take, verify } from '../../snapshot/index.js';
import { forgeTable } from '../qcow2/forge.js';
import { withCloneDisk } from '../tools/clone-disk.js';
import { patch, Random, randomBytes, tempDir } from '../tools/files.js';
import { flipCluster } from '../tools/flip.js';
import { nvsnap } from '../tools/nvsnap.js';
import { qemuImg } from '../tools/qemu.js';
import { tagged, withTables } from '../tools/tables.js';

t.setTimeout(240_000);

const CLUSTER = 4096;
const CLUSTERS = 1200;
const TAGS = ['a', 'b', 'c', 'd'];
const CODECS = ['zstd', 'zlib', 'none', 'lz4'] as const;

/** Four snapshots of an image of several L2 tables; which version of each cluster each of them has. */
const makeStore = async (t: Test, compression: (typeof CODECS)[number]) => {
  const folder = tempDir(t);
  const image = join(folder, 'image');
  const store = join(folder, 'store.qcow2');
  const random = new Random(3);
  // Half of each cluster is noise, so that it shrinks and is nowhere twice; the end is short.
  const half = (): Buffer => Buffer.concat([random.bytes(CLUSTER / 2), Buffer.alloc(CLUSTER / 2)]);
  fs.writeFileSync(image, Buffer.concat(Array.from({ length: CLUSTERS }, half)).subarray(0, -1000));
  const versions = new Array<number>(CLUSTERS).fill(0);
  const has: number[][] = [];
  let stored = 0;
  for (const [round, tag] of TAGS.entries()) {
    if (round > 0) {
      for (const cluster of random.pick(100, CLUSTERS - 1)) {
        patch(image, half(), cluster * CLUSTER);
        versions[cluster] = round;
      }
    }
    has.push([...versions]);
    const taken = await take({ image, store, tag, compression, clusterSize: CLUSTER });
    stored += taken.storedClusters;
  }
  const sharers = (cluster: number, round: number): string[] =>
    TAGS.filter((_, i) => has[i]?.[cluster] === has[round]?.[cluster]);
  return { folder, image, store, stored, sharers, random };
};

for (const compression of CODECS) {
  t.test(`every stored cluster is read once, and damage is found: ${compression}`, async (t) => {
    const { store, stored, sharers, random } = await makeStore(t, compression);
    const sound = await verify({ store });
    t.match(sound, { snapshots: TAGS, unverifiable: [], damagedClusters: 0, damage: [] });
    t.equal(sound.clusters, stored, 'however many snapshots share it');

    const hurt = new Map<number, string[]>();
    for (const cluster of random.pick(12, CLUSTERS - 1)) {
      const round = random.below(TAGS.length);
      flipCluster(store, TAGS[round] as string, cluster, random);
      hurt.set(cluster, sharers(cluster, round));
    }
    const damaged = await verify({ store });
    t.equal(damaged.damagedClusters, hurt.size);
    const found = new Map(damaged.damage.map((d) => [d.start / CLUSTER, d.snapshots]));
    t.same([...found].sort(), [...hurt].sort(), 'where, and in which snapshots');

    // Verifying one snapshot finds what restoring it finds.
    for (const [i, tag] of TAGS.entries()) {
      const own = [...hurt].filter(([, tags]) => tags.includes(tag)).length;
      const one = await verify({ store, snapshots: [`#${i + 1}`] });
      t.equal(one.damagedClusters, own, tag);
      const restored = restore({ store, snapshot: tag, output: `${store}.out` });
      const exit = await restored.then(
        () => 0,
        (error: Fault) => error.exitCode,
      );
      t.equal(exit, own === 0 ? 0 : 3, `restoring ${tag}`);
      fs.rmSync(`${store}.out`, { force: true });
    }
  });
}

t.test('damage to tables and digests is damage too', async (t) => {
  const { store } = await makeStore(t, 'none');
  const sound = fs.readFileSync(store);
  const places = withTables(store, (s) => {
    const { entry, record } = tagged(s, 'd');
    const l1 = s.l1(entry);
    const digests = s.l2(offsetOf(l1.hi(record?.digestL1 ?? 0), l1.lo(record?.digestL1 ?? 0)));
    const table = offsetOf(digests.hi(0), digests.lo(0));
    return { entry: offsetOf(l1.hi(0), l1.lo(0)) + 7 * 8, digest: table + 9 * 16 };
  });
  patch(store, Buffer.alloc(8), places.entry);
  t.match(await verify({ store, snapshots: ['d'] }), {
    damagedClusters: 1,
    damage: [{ start: 7 * CLUSTER, length: CLUSTER, problem: /reads as zeros/, snapshots: ['d'] }],
  });
  fs.writeFileSync(store, sound);
  patch(store, Buffer.from([sound[places.digest] ? 0 : 1]), places.digest);
  const { damagedClusters, damage } = await verify({ store, snapshots: ['d'] });
  t.ok(damagedClusters >= 512, 'no digest of that table can be believed');
  t.match(damage[0], { problem: /digest table/, snapshots: ['d'] });
});

t.test('what is on the disk, whatever the system has in memory', (t) =>
  withCloneDisk(
    t,
    { name: 'ext4', type: 'ext4' },
    async ({ folder, file }) => {
      const image = join(tempDir(t), 'image');
      const store = join(folder, 'store.qcow2');
      const content = new Random(8).bytes(2 * MiB);
      fs.writeFileSync(image, content);
      await take({ image, store });
      t.match(await verify({ store, fromDisk: true }), { clusters: 32, damagedClusters: 0 });
      // Below the file system, which knows nothing of it.
      const at = fs.readFileSync(file).indexOf(content.subarray(5 * 64 * KiB, 5 * 64 * KiB + 512));
      patch(file, Buffer.alloc(1, 1 + (content[5 * 64 * KiB] as number)), at);
      t.match(await verify({ store }), { damagedClusters: 0 }, 'it reads what was there before');
      t.match(await verify({ store, fromDisk: true }), {
        damagedClusters: 1,
        damage: [{ start: 5 * 64 * KiB }],
      });
    },
    64 * MiB,
  ),
);

t.test('a sample reads a part of it', async (t) => {
  const { store, stored } = await makeStore(t, 'zstd');
  const { clusters } = await verify({ store, sample: 10 });
  t.ok(clusters > stored / 20 && clusters < stored / 5, `${clusters} of ${stored}`);
  for (const sample of [0, -1, 101, Number.NaN]) {
    await t.rejects(verify({ store, sample }), { code: 'usage' });
  }
});

t.test('the command, its exit codes, and stores of other programs', async (t) => {
  const { folder, image, store, random } = await makeStore(t, 'zstd');
  const good = await nvsnap(['verify', store, 'a', 'latest']);
  t.match(good, {
    status: 0,
    stdout: /^Verified 2 snapshots of .*: \d+ stored clusters .*no damage/,
  });
  flipCluster(store, 'a', 77, random);
  const bad = await nvsnap(['verify', store, '--json']);
  t.equal(bad.status, 3);
  t.match(JSON.parse(bad.stdout), { damagedClusters: 1, damage: [{ start: 77 * CLUSTER }] });
  const said = await nvsnap(['verify', store]);
  t.match(said.stdout, /^315392\+4096: what is stored does not match.*; in a/);
  t.equal((await nvsnap(['verify', store, '--from-disk'])).status, 3);
  t.match(await nvsnap(['verify', store, 'x']), { status: 1, stderr: /no snapshot "x"/ });
  t.match(await nvsnap(['verify', store, '--sample', '0']), { status: 2, stderr: /percent/ });

  const foreign = join(folder, 'foreign.qcow2');
  t.equal(qemuImg(['convert', '-O', 'qcow2', image, foreign]).status, 0);
  t.equal(qemuImg(['snapshot', '-c', 'theirs', foreign]).status, 0);
  const theirs = await verify({ store: foreign });
  t.match(theirs, { unverifiable: ['theirs'], clusters: 75, damagedClusters: 0 });
  const words = await nvsnap(['verify', foreign]);
  t.match(
    words.stdout,
    /^Made by another program and without digests, so read but not proven: theirs\.\n/,
  );
  t.match(words.stdout, /\nVerified 0 snapshots of .*: 75 stored clusters .*, no damage/);
});

t.test('a large store is verified in threads, with nothing but zeros skipped', async (t) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  fs.writeFileSync(
    image,
    Buffer.concat([randomBytes(40 * 2 ** 20, 1), Buffer.alloc(30 * 2 ** 20)]),
  );
  await take({ image, store, tag: 'a' });
  const { clusters, bytes, stages } = await verify({ store });
  t.match({ clusters, bytes }, { clusters: 640, bytes: 40 * 2 ** 20 });
  t.ok(stages.some(({ threads }) => threads > 0));
});

t.test('within a time: some of it, from anywhere, and said so', async (t) => {
  const { store, stored } = await makeStore(t, 'zstd');
  const seen = new Set<number>();
  for (let n = 0; n < 12; n += 1) {
    const r = await verify({ store, timeBudget: 1e-6, memory: 2 ** 20 * 16 });
    t.equal(r.complete, false);
    t.ok(r.clusters > 0 && r.clusters < stored);
    seen.add(r.clusters);
  }
  t.ok(seen.size > 1, 'not always the same part');
  t.match(await verify({ store, timeBudget: 600 }), { complete: true, clusters: stored });
  t.match(await nvsnap(['verify', store, '--time-budget', '10m']), {
    status: 0,
    stdout: /no damage/,
  });
  const short = await nvsnap(['verify', store, '--time-budget', '0.000001s']);
  t.match(short, { status: 0, stdout: /not all of them: the time was over/ });
  for (const budget of ['0', '-1s', 'soon', '5d']) {
    t.match(await nvsnap(['verify', store, '--time-budget', budget]), { status: 2 }, budget);
  }
});

t.test('a cluster that another snapshot has in another length was not looked at', async (t) => {
  const { store } = await makeStore(t, 'zstd');
  const size = CLUSTERS * CLUSTER - 1000;
  const grown = {
    entry: { diskSize: Math.ceil((size + 1) / 512) * 512 },
    record: { imageSize: size + 1 },
  };
  forgeTable(store, (tag) => (tag === 'd' ? grown : {}));
  await t.rejects(restore({ store, snapshot: 'd', output: `${store}.out` }), {
    code: 'digest-mismatch',
  });
  t.match(await verify({ store }), {
    damagedClusters: 1,
    damage: [{ start: (CLUSTERS - 1) * CLUSTER, snapshots: ['d'] }],
  });
});
