// Slabs: a batch is the same from every thread that looks at it, and a lease is never given twice.

import fc from 'fast-check';
import koffi from 'koffi';
import t from 'tap';
import { allocateSlab, Batch, Kind, SlabPool, slabBytes } from '../../pipeline/slab.js';

const LAYOUT = { clusterSize: 512, clusters: 5, packedBytes: 700 };

t.test(
  'the parts of a slab do not overlap, and a second view sees what the first writes',
  async (t) => {
    const memory = allocateSlab(LAYOUT);
    t.ok(memory.memory.byteLength - memory.start >= slabBytes(LAYOUT));
    const batch = new Batch(3, LAYOUT, memory);
    batch.begin(2 ** 40, 5 * 512 - 1);
    const parts = [
      batch.places,
      batch.lengths,
      batch.starts,
      batch.known,
      batch.digests,
      batch.kinds,
      batch.data,
      batch.packed,
    ].map((part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
    for (const [i, part] of parts.entries()) part.fill(i + 1);
    t.ok(parts.every((part, i) => part.every((byte) => byte === i + 1)));
    t.same([batch.data.length, batch.packed.length], [5 * 512, 700]);
    const other = new Batch(3, LAYOUT, memory);
    t.same([other.offset, other.length, other.count, other.live], [2 ** 40, 5 * 512 - 1, 5, 5]);
    other.live = 2;
    t.equal(batch.live, 2);
    t.equal(batch.cluster(4).length, 512);
    t.equal(batch.content(4).length, 511);
    t.equal(batch.content(0).length, 512);
  },
);

t.test('a batch begins with plain clusters and can be cut', async (t) => {
  const batch = new Batch(0, LAYOUT, allocateSlab(LAYOUT));
  batch.kinds.fill(Kind.same);
  batch.begin(0, 1000);
  t.same([...batch.kinds], [Kind.plain, Kind.plain, Kind.same, Kind.same, Kind.same]);
  t.same([batch.count, batch.live], [2, 2]);
  batch.begin(1024, 5 * 512 - 12);
  batch.shorten(2);
  t.same([batch.offset, batch.length, batch.count, batch.live], [1024, 1024, 2, 2]);
  batch.begin(0, 700);
  batch.shorten(2);
  t.equal(batch.length, 700, 'never longer than it was');
});

t.test('a slab with room for a few of its clusters', async (t) => {
  const layout = { clusterSize: 512, clusters: 40, packedBytes: 100, room: 3 };
  const memory = allocateSlab(layout);
  const [batch, other] = [new Batch(0, layout, memory), new Batch(0, layout, memory)];
  t.equal(batch.data.length, 3 * 512);
  for (const held of [
    [7, 30, 39],
    [0, 1],
    [39, 2, 1],
  ]) {
    batch.begin(0, 40 * 512 - 5);
    for (const [slot, i] of held.entries()) {
      t.ok(batch.hold(i));
      t.equal(batch.startOf(i), slot * 512);
      batch.cluster(i).fill(i);
    }
    t.equal(batch.hold(20), held.length < 3, 'there is room for three');
    for (const i of held)
      t.ok(
        other.cluster(i).every((byte) => byte === i),
        'also seen from elsewhere',
      );
  }
  t.equal(batch.content(39).length, 507);
  batch.kinds.fill(9, 0, 40);
  batch.digests.fill(8);
  t.ok(
    batch.cluster(39).every((byte) => byte === 39),
    'nothing else lies in it',
  );
  const whole = new Batch(0, LAYOUT, allocateSlab(LAYOUT));
  whole.begin(0, 5 * 512);
  t.ok(
    [4, 4, 3, 2, 1, 0, 0].every((i) => whole.hold(i)),
    'usually all have room',
  );
  t.equal(whole.startOf(4), 4 * 512);
});

t.test('clusters that are omitted are as is known of them, and do not count', async (t) => {
  const batch = new Batch(0, LAYOUT, allocateSlab(LAYOUT));
  batch.begin(1024, 5 * 512 - 12);
  batch.known.forEach((_, i) => {
    batch.known[i] = i;
  });
  batch.digests.fill(1);
  batch.omit(1, 3);
  t.same([batch.length, batch.bytes, batch.count], [5 * 512 - 12, 3 * 512 - 12, 5]);
  t.same([batch.isKnown(1, 3), batch.isKnown(0, 1), batch.isKnown(3, 4)], [true, false, false]);
  t.same([batch.nextLive(0), batch.nextLive(1)], [0, 3]);
  batch.shorten(2);
  t.same([batch.length, batch.bytes], [1024, 512]);
  batch.shorten(0);
  t.same([batch.length, batch.bytes], [0, 0]);
  batch.begin(0, 700);
  t.equal(batch.bytes, 700);
});

t.test('clusters lie on page boundaries of the machine', async (t) => {
  const layout = { clusterSize: 4096, clusters: 3, packedBytes: 5000 };
  for (let i = 0; i < 5; i += 1) {
    const { data, packed } = new Batch(i, layout, allocateSlab(layout));
    t.equal(koffi.address(data) % 4096n, 0n);
    t.equal(koffi.address(packed) % 4096n, 0n);
  }
});

t.test('live clusters are found, whatever else the slab holds', async (t) => {
  const layout = { clusterSize: 512, clusters: 43, packedBytes: 0 };
  const batch = new Batch(0, layout, allocateSlab(layout));
  const kind = fc.constantFrom(...Object.values(Kind));
  fc.assert(
    fc.property(
      fc.array(kind, { minLength: 1, maxLength: 43, size: 'max' }),
      kind,
      (kinds, beyond) => {
        batch.begin(0, kinds.length * 512);
        batch.kinds.fill(beyond);
        batch.kinds.set(kinds);
        const found: number[] = [];
        for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) found.push(i);
        const live = kinds.flatMap((kind, i) => (kind === Kind.same ? [] : [i]));
        return (
          found.join() === live.join() &&
          Object.values(Kind).every((kind) => batch.has(kind) === kinds.includes(kind))
        );
      },
    ),
  );
  t.pass('for every line of kinds');
});

t.test('digests are known when all of them are equal', async (t) => {
  const batch = new Batch(0, LAYOUT, allocateSlab(LAYOUT));
  batch.digests.fill(7);
  batch.known.fill(7);
  t.ok(batch.isKnown(0, 5));
  batch.known[2 * 16 + 15] = 8;
  t.notOk(batch.isKnown(0, 5));
  t.ok(batch.isKnown(0, 2) && batch.isKnown(3, 5) && batch.isKnown(2, 2));
  t.notOk(batch.isKnown(2, 3));
});

t.test('a lease waits for a slab to come back, first come first served', async (t) => {
  const pool = new SlabPool(LAYOUT, 2);
  const [a, b] = [await pool.lease(), await pool.lease()];
  t.not(a, b);
  t.equal(pool.idle, 0);
  const got: string[] = [];
  const waiting = ['first', 'second'].map(async (name) => {
    const batch = await pool.lease();
    got.push(name);
    return batch;
  });
  await new Promise((next) => setImmediate(next));
  t.same(got, []);
  pool.release(b);
  t.equal(await waiting[0], b);
  pool.release(a);
  t.equal(await waiting[1], a);
  t.same(got, ['first', 'second']);
  pool.release(a);
  pool.release(b);
  t.equal(pool.idle, 2);
});

t.test('closing a pool fails those who wait and those who come', async (t) => {
  const pool = new SlabPool(LAYOUT, 1);
  await pool.lease();
  const waiting = pool.lease();
  pool.close(new Error('over'));
  await t.rejects(waiting as Promise<Batch>, { message: 'over' });
  t.throws(() => pool.lease(), { message: 'over' });
});
