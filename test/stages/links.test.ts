// Reversible stages one behind another: whichever of them decline, what was framed comes back.

import fs from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import type { LinkUse } from '../../stages/plug/link.js';
import { growthOf, Links } from '../../stages/plug/links.js';
import { Random, tempDir } from '../tools/files.js';

const CLUSTER = 4096;
const GROWTH = 5;
const DESK = { clusterSize: CLUSTER, cancelled: () => false };

const folder = tempDir(t);

/** Adds `GROWTH` bytes in front and turns the others over; of a cluster that begins with an even byte, `declines`. */
const CODE = `export default { name: 'link', open: ({ mark, declines }) => ({
  encode: (bytes, into) => {
    if (declines && bytes[0] % 2 === 0) return 0;
    into.fill(mark, 0, ${GROWTH});
    for (let i = 0; i < bytes.length; i += 1) into[i + ${GROWTH}] = bytes[i] ^ mark;
    return bytes.length + ${GROWTH};
  },
  decode: (bytes, into) => {
    if (bytes[0] !== mark) throw new Error('not mine');
    const length = bytes.length - ${GROWTH};
    for (let i = 0; i < length; i += 1) into[i] = bytes[i + ${GROWTH}] ^ mark;
    return length;
  },
}) };`;
const MODULE = join(folder, 'link.mjs');
fs.writeFileSync(MODULE, CODE);

interface TestLink extends LinkUse {
  readonly options: { readonly mark: number; readonly declines: boolean };
}

const linkOf = (k: number, declines: boolean, takesPacked = true): TestLink => ({
  name: `link-${k}`,
  module: pathToFileURL(MODULE).href,
  options: { mark: 0x11 * (k + 1), declines },
  growth: GROWTH,
  takesPlain: true,
  takesPacked,
});

/** Each of three links in each of two ways, and fewer of them. */
const chains = function* (): Generator<TestLink[]> {
  for (let count = 1; count <= 3; count += 1) {
    for (let ways = 0; ways < 2 ** count; ways += 1) {
      yield Array.from({ length: count }, (_, k) => {
        return linkOf(k, ((ways >> k) & 1) !== 0);
      });
    }
  }
};

for (const strict of [false, true]) {
  t.test(strict ? 'with copies' : 'with the bytes themselves', async (t) => {
    const random = new Random(7);
    for (const links of chains()) {
      const line = await Links.open({ links, strict }, DESK);
      const room = CLUSTER + growthOf(links);
      const into = Buffer.alloc(room + 100, 0xee);
      const cluster = Buffer.alloc(CLUSTER);
      for (const [length, packed] of [
        [CLUSTER, false],
        [CLUSTER, false],
        [999, true],
      ] as const) {
        const bytes = random.bytes(length);
        const was = Buffer.from(bytes);
        line.begin();
        const made = line.encode(bytes, packed, into.subarray(0, room), 0);
        if (!bytes.equals(was)) t.fail('what was given is as it was');
        if (made === 0) {
          if (packed || links.some(({ options }) => !options.declines) || was[0]! % 2 !== 0)
            t.fail('only what all decline is not framed');
          continue;
        }
        if (made > room || !into.subarray(room).every((byte) => byte === 0xee)) t.fail('in bounds');
        const back = line.decode(into.subarray(0, made + 50), cluster, 0);
        if (back.packed !== packed || !back.bytes.equals(was)) t.fail('it comes back');
        if (!packed && !cluster.equals(was)) t.fail('a cluster comes where it belongs');
      }
    }
    t.pass('every chain');
  });
}

t.test('a link that takes only plain clusters is passed by the others', async (t) => {
  const line = await Links.open({ links: [linkOf(0, false, false)], strict: false }, DESK);
  const into = Buffer.alloc(CLUSTER + 50);
  const payload = Buffer.from('what a codec has made');
  const made = line.encode(payload, true, into, 0);
  t.equal(made, 8 + payload.length);
  const back = line.decode(into.subarray(0, made), Buffer.alloc(CLUSTER), 0);
  t.same(back, { bytes: payload, packed: true });
});

t.test('what was not framed by them is refused', async (t) => {
  const line = await Links.open({ links: [linkOf(0, false)], strict: false }, DESK);
  const into = Buffer.alloc(CLUSTER + 50);
  const cluster = Buffer.alloc(CLUSTER);
  const made = line.encode(new Random(1).bytes(CLUSTER), false, into, 0);
  const frame = into.subarray(0, made);
  const changed = (at: number, byte: number): Buffer => {
    const copy = Buffer.from(frame);
    copy[at] = byte;
    return copy;
  };
  const refused = { code: 'payload-damaged' };
  for (const [bytes, name] of [
    [frame.subarray(0, made - 1), 'cut'],
    [frame.subarray(0, 7), 'no head'],
    [changed(2, 1), 'longer than it is'],
    [changed(4, 0), 'of no link'],
    [changed(4, 4), 'of a link that is not there'],
    [changed(8, 0), 'of another'],
  ] as const) {
    t.throws(() => line.decode(bytes, cluster, 0), refused, name);
  }
});
