import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { Geometry } from '../../qcow2/geometry.js';
import { holds } from './codecs.js';

const GiB = 2 ** 30;

t.test('the arithmetic of 64-KiB clusters', async (t) => {
  const geometry = new Geometry(16);
  t.equal(geometry.clusterSize, 65536);
  t.equal(geometry.l2Entries, 8192);
  t.equal(geometry.clusters(0), 0);
  t.equal(geometry.clusters(1), 1);
  t.equal(geometry.clusters(65536), 1);
  t.equal(geometry.clusters(65537), 2);
  // One L2 table describes 8192 clusters: 512 MiB.
  t.equal(geometry.l1Entries(0), 0);
  t.equal(geometry.l1Entries(GiB / 2), 1);
  t.equal(geometry.l1Entries(GiB / 2 + 1), 2);
  t.equal(geometry.l1Entries(256 * GiB), 512);
  t.equal(geometry.hostCluster(65535), 0);
  t.equal(geometry.hostCluster(65536), 1);
  t.ok(geometry.isAligned(131072));
  t.notOk(geometry.isAligned(131584));
});

t.test('the smallest and the largest clusters', async (t) => {
  const small = new Geometry(9);
  t.equal(small.l2Entries, 64);
  t.equal(small.l1Entries(GiB), 32768);
  const extended = new Geometry(16, true);
  t.match(extended, { l2EntryBytes: 16, l2Entries: 4096 });
  const large = new Geometry(21);
  t.equal(large.l2Entries, 262144);
  t.equal(large.l1Entries(512 * GiB), 1);
  t.equal(large.l1Entries(512 * GiB + 1), 2);
});

t.test('whatever the size, the tables cover it and no more', async (t) => {
  const bits = fc.integer({ min: 9, max: 21 });
  const divided = (value: bigint, by: bigint): bigint => (value + by - 1n) / by;
  holds(
    t,
    fc.property(bits, fc.maxSafeNat(), (clusterBits, size) => {
      const geometry = new Geometry(clusterBits);
      const cluster = BigInt(geometry.clusterSize);
      const table = cluster * (cluster / 8n);
      assert.equal(BigInt(geometry.clusters(size)), divided(BigInt(size), cluster));
      assert.equal(BigInt(geometry.l1Entries(size)), divided(BigInt(size), table));
    }),
  );
});
