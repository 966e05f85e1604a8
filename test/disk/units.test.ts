import fc from 'fast-check';
import t from 'tap';
import { fault } from '../../disk/faults.js';
import {
  bytes,
  formatSize,
  GiB,
  guestCluster,
  hostOffset,
  KiB,
  MiB,
  parseSize,
  roundUp,
  TiB,
} from '../../disk/units.js';

t.test('sizes are read in powers of 1024, in every common spelling', async (t) => {
  const table: ReadonlyArray<readonly [string, number]> = [
    ['0', 0],
    ['4096', 4096],
    ['512B', 512],
    ['64K', 64 * KiB],
    ['64k', 64 * KiB],
    ['64KB', 64 * KiB],
    ['64KiB', 64 * KiB],
    ['64 KiB', 64 * KiB],
    [' 2M ', 2 * MiB],
    ['1.5 GiB', 1.5 * GiB],
    ['0.5K', 512],
    ['256G', 256 * GiB],
    ['1T', TiB],
  ];
  for (const [text, value] of table) t.equal(parseSize(text), value, JSON.stringify(text));
});

t.test('what is not a size is not read as one', async (t) => {
  const wrong = ['', ' ', 'K', '-1', '+1', '1e3', '0x10', '1,5K', '.5K', '1.K', '64P', '64 K iB'];
  wrong.push('0.3K', '64KK', '1 2', 'NaN', 'Infinity', '99999999T', '1.0000001', '6٤');
  for (const text of wrong) t.equal(parseSize(text), undefined, JSON.stringify(text));
});

t.test('a size is written with its unit', async (t) => {
  const table: ReadonlyArray<readonly [number, string]> = [
    [0, '0 B'],
    [11.58, '12 B'],
    [1023, '1023 B'],
    [1024, '1.00 KiB'],
    [1536, '1.50 KiB'],
    [64 * KiB, '64.0 KiB'],
    [2 * MiB, '2.00 MiB'],
    [256 * GiB, '256.0 GiB'],
    [TiB, '1.00 TiB'],
    [2048 * TiB, '2.00 PiB'],
  ];
  for (const [value, text] of table) t.equal(formatSize(value), text);
});

t.test('what is too little is never written as what is needed', async (t) => {
  const sizes = fc.maxSafeNat().map((value) => 1 + (value % TiB));
  fc.assert(
    fc.property(sizes, fc.integer({ min: 1, max: 4096 }), (needed, less) => {
      const given = Math.max(0, needed - less);
      const { message } = fault('memory-too-small', { given, needed });
      const [has = '', needs = ''] = message.match(/[\d.]+ \w*B/g) ?? [];
      const bytesIn = (text: string): number => Number.parseFloat(text) * unitOf(text);
      return bytesIn(has) <= given && bytesIn(needs) >= needed;
    }),
  );
  t.match(fault('memory-too-small', { given: 64 * MiB, needed: 64 * MiB + 1 }), {
    message: '64.0 MiB of memory is too little: the pipeline needs at least 64.1 MiB.',
  });
  t.match(fault('bench-space', { dir: '/d', free: 10 * GiB - 1, needed: 10 * GiB }), {
    message: '/d has 9.99 GiB free, and up to 10.0 GiB are needed.',
  });
});

t.test('a written size is read back to within its last digit', async (t) => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      const text = formatSize(value % (1000 * TiB));
      const read = parseSize(text) ?? Math.round(Number.parseFloat(text) * unitOf(text));
      return Math.abs(read - (value % (1000 * TiB))) <= 0.051 * unitOf(text);
    }),
  );
  t.pass('for every size');
});

const unitOf = (text: string): number => parseSize(`1${text.split(' ')[1]}`) ?? Number.NaN;

t.test('rounding up gives the next multiple, and leaves multiples alone', async (t) => {
  fc.assert(
    fc.property(fc.nat(2 ** 30), fc.integer({ min: 1, max: 2 ** 21 }), (value, step) => {
      const rounded = roundUp(value, step);
      return rounded % step === 0 && rounded >= value && rounded < value + step;
    }),
  );
  t.equal(roundUp(2 ** 50 + 1, 512), 2 ** 50 + 512);
});

t.test('a unit is given only to whole numbers that are exact', async (t) => {
  for (const make of [hostOffset, guestCluster, bytes]) {
    t.equal(make(2 ** 53 - 1), 2 ** 53 - 1);
    for (const wrong of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
      t.throws(() => make(wrong), RangeError);
    }
  }
});
