import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { Placer } from '../../qcow2/placer.js';
import { decodeBlock, hasHeadroom, Refcounts, type Run } from '../../qcow2/refcounts.js';
import { Store } from '../../qcow2/store.js';
import { tempDir } from '../tools/files.js';
import { checkClean, qemuImg } from '../tools/qemu.js';
import { bytes, holds } from './codecs.js';

const ORDERS = [0, 1, 2, 3, 4, 5, 6] as const;

t.test('refcounts of every width, by hand', async (t) => {
  const cases: readonly [bits: number, order: number, raw: string, counts: number[]][] = [
    // Narrow ones fill a byte from its least significant bit.
    [1, 0, '05 80', [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]],
    [2, 1, 'e4 01', [0, 1, 2, 3, 1, 0, 0, 0]],
    [4, 2, 'f1 02', [1, 15, 2, 0]],
    [8, 3, '00 ff 01', [0, 255, 1]],
    [16, 4, '0001 0100 ffff', [1, 256, 65535]],
    [32, 5, '00000001 01000000 ffffffff', [1, 2 ** 24, 2 ** 32 - 1]],
    [64, 6, '0000000000000001 00000000ffffffff', [1, 2 ** 32 - 1]],
  ];
  for (const [bits, order, raw, counts] of cases) {
    t.same([...decodeBlock(bytes(raw), order)], counts, `${bits} bits`);
  }
});

t.test('a 64-bit refcount past 32 bits never looks like a small one', async (t) => {
  const raw = bytes('0000000100000000 0000000100000001 8000000000000000');
  t.same([...decodeBlock(raw, 6)], [0xffff_ffff, 0xffff_ffff, 0xffff_ffff]);
});

/** Encodes refcounts as the specification says it, one bit at a time. */
const encode = (counts: readonly number[], order: number): Buffer => {
  const width = 2 ** order;
  const raw = Buffer.alloc(Math.ceil((counts.length * width) / 8));
  counts.forEach((count, i) => {
    for (let b = 0; b < width; b += 1) {
      if (((BigInt(count) >> BigInt(b)) & 1n) === 0n) continue;
      const byte =
        width < 8 ? Math.floor((i * width) / 8) : (i * width) / 8 + width / 8 - 1 - (b >> 3);
      const bit = width < 8 ? ((i * width) % 8) + b : b & 7;
      raw[byte] = (raw[byte] as number) | (1 << bit);
    }
  });
  return raw;
};

for (const order of ORDERS) {
  t.test(`every block of ${2 ** order}-bit refcounts decodes`, async (t) => {
    const count = fc.nat(2 ** Math.min(2 ** order, 32) - 1);
    const block = fc.array(count, { minLength: 64, maxLength: 64 });
    holds(
      t,
      fc.property(block, (counts) => {
        assert.deepEqual([...decodeBlock(encode(counts, order), order)], counts);
      }),
    );
  });

  t.test(`a file of qemu-img with ${2 ** order}-bit refcounts loads`, async (t) => {
    const path = join(tempDir(t), 'x.qcow2');
    const options = `cluster_size=4k,refcount_bits=${2 ** order}`;
    t.equal(qemuImg(['create', '-q', '-f', 'qcow2', '-o', options, path, '8M']).status, 0);
    const store = Store.open(path, 'r');
    t.teardown(() => store.file.close());
    const refcounts = Refcounts.load(store);
    t.equal(refcounts.blockEntries, (4096 * 8) / 2 ** order);
    t.equal(refcounts.max(), 1);
    t.equal(
      refcounts.end,
      Math.ceil(store.file.size() / 4096),
      'every cluster of a new file is in use',
    );
    for (let c = 0; c < refcounts.end; c += 1) t.equal(refcounts.get(c), 1, `cluster ${c}`);
    t.equal(refcounts.get(refcounts.end), 0);
  });
}

t.test('headroom is twice the clusters of an image, since two tables lead to each', (t) => {
  const most = 2 ** 32 - 1;
  t.ok(hasHeadroom(1, (most - 1) / 2));
  t.notOk(hasHeadroom(2, (most - 1) / 2));
  t.ok(hasHeadroom(2 ** 31, 2 ** 28), '1 TiB of one 4-KiB page');
  t.ok(hasHeadroom(most, 0));
  t.notOk(hasHeadroom(most, 1));
  t.end();
});

t.test('a refcount past 32 bits is refused, not wrapped', (t) => {
  const path = join(tempDir(t), 'x.qcow2');
  t.equal(qemuImg(['create', '-q', '-f', 'qcow2', '-o', 'refcount_bits=32', path, '8M']).status, 0);
  const store = Store.open(path, 'r');
  t.teardown(() => store.file.close());
  const refcounts = Refcounts.load(store);
  refcounts.bump(0, 2 ** 32 - 2);
  t.equal(refcounts.get(0), 2 ** 32 - 1);
  t.throws(() => refcounts.bump(0, 1), { code: 'store-full' });
  t.throws(() => refcounts.bump(1, -2), { code: 'store-damaged' });
  t.equal(refcounts.get(0), 2 ** 32 - 1);
  t.end();
});

t.test('a payload of more than a cluster passes gaps that are too small, once', (t) => {
  const path = join(tempDir(t), 'x.qcow2');
  const options = 'cluster_size=4k,refcount_bits=32';
  t.equal(qemuImg(['create', '-q', '-f', 'qcow2', '-o', options, path, '8M']).status, 0);
  const store = Store.open(path, 'r');
  t.teardown(() => store.file.close());
  const refcounts = Refcounts.load(store);
  const { first } = refcounts.nextRun(64);
  // Every other cluster is free, and at the end two in a row.
  for (let i = 0; i < 40; i += 2) refcounts.giveBack({ first: first + i, count: 1 });
  refcounts.giveBack({ first: first + 50, count: 2 });
  const placer = new Placer(path, store.geometry, refcounts);
  t.equal(placer.packed(4096 + 36, 3 * 4096), (first + 50) * 4096, 'where it has room');
  t.equal(placer.packed(4096 + 36, 3 * 4096), (first + 64) * 4096, 'then past the end');
  placer.finish();
  t.equal(refcounts.nextRun(1).first, first, 'the gaps are there for what comes after');
  t.equal(refcounts.end, first + 66);
  t.end();
});

t.test('a file whose end is free keeps the blocks for it, however many', (t) => {
  const path = join(tempDir(t), 'x.qcow2');
  const options = 'cluster_size=4k,refcount_bits=32';
  t.equal(qemuImg(['create', '-q', '-f', 'qcow2', '-o', options, path, '8M']).status, 0);
  /** A change of the refcounts alone, published; the file is not cut afterwards, as when power fails. */
  const commit = (change: (refcounts: Refcounts) => void): Refcounts => {
    const store = Store.open(path, 'r+');
    const { refcountTableOffset: offset, refcountTableClusters: clusters } = store.header;
    const refcounts = Refcounts.load(store);
    change(refcounts);
    const table = refcounts.relocate({ offset, clusters }, (at, raw) => store.file.write(raw, at));
    store.file.truncate(Math.max(store.file.size(), refcounts.end * 4096));
    const words = Buffer.alloc(12);
    words.writeBigUInt64BE(BigInt(table.offset), 0);
    words.writeUInt32BE(table.clusters, 8);
    store.file.write(words, 48);
    store.file.close();
    return refcounts;
  };
  const take = (count: number): Run => {
    let run = { first: 0, count };
    commit((refcounts) => {
      run = refcounts.adjacent(count);
      refcounts.bumpBytes(run.first * 4096, count * 4096, 1);
    });
    return run;
  };
  const free = ({ first, count }: Run): Refcounts =>
    commit((refcounts) => refcounts.bumpBytes(first * 4096, count * 4096, -1));
  // More blocks than one cluster of the table has words for, and below them room for where they go.
  const [low, high] = [take(600), take(520 * 1024)];
  free(low);
  free(high);
  const { end } = commit(() => {});
  t.ok(end < high.first + high.count, 'the last cluster in use is far below');
  t.ok(fs.statSync(path).size > high.count * 4096);
  checkClean(path);
  t.end();
});
