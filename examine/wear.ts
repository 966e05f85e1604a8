// What must hold of a stage that decodes what may have been damaged.

import assert from 'node:assert/strict';
import { randomFrom } from '../disk/index.js';
import { Kind } from '../pipeline/index.js';
import type { Check } from './checks.js';
import type { Wear } from './subject.js';

/** A frame of reversible stages begins with its length and a word of what was done (docs/format.md). */
const HEAD_BYTES = 8;

/** Ways in which a payload's body comes to be another; each returns the body's new length. */
const DAMAGES: ReadonlyArray<readonly [string, (body: Buffer, random: () => number) => number]> = [
  [
    'a bit has turned over',
    (body, random) => {
      const at = Math.floor(random() * body.length);
      body[at] = (body[at] as number) ^ (1 << Math.floor(random() * 8));
      return body.length;
    },
  ],
  ['only half is left', (body) => Math.ceil(body.length / 2)],
  ['only one byte is left', () => 1],
  [
    'it is noise',
    (body, random) => {
      for (let i = 0; i < body.length; i += 1) body[i] = Math.floor(random() * 256);
      return body.length;
    },
  ],
  ['it is zeros', (body) => body.fill(0).length],
  ['its end is gone', (body) => Math.max(1, body.length - 1)],
];

const CLUSTERS = 96;
const SIZES = [4096, 65536];

/** Damages are marked, or at least never taken for what was there; the neighbours come through. */
export const bearsDamage: Check = async (bench, subject) => {
  for (const line of subject.lines.filter(({ codes }) => codes)) {
    for (const clusterSize of SIZES) {
      const random = randomFrom(bench.seed);
      const worn = new Map<number, string>();
      const wear: Wear = (i, packed, start, length) => {
        // Every other one stays sound.
        const [name, damage] = (i % 2 === 0 ? DAMAGES[(i / 2) % DAMAGES.length] : undefined) ?? [];
        if (!name || !damage) return length;
        worn.set(i, name);
        const head = line.framed ? HEAD_BYTES : 0;
        const left = damage(packed.subarray(start + head, start + length), random);
        if (head > 0) packed.writeUInt32LE(left, start);
        return head + left;
      };
      const image = bench.image(CLUSTERS * clusterSize, clusterSize);
      const { after, before } = await bench.run({ line, clusterSize, image, strict: true, wear });
      assert(worn.size > DAMAGES.length, `it encodes too little to be damaged (${line.name})`);
      for (const [i, kind] of after.kinds.entries()) {
        if (kind === Kind.damaged && worn.has(i)) continue;
        const what = worn.get(i) ?? 'it was sound, and others were damaged';
        const where = `the cluster at image offset ${i * clusterSize}, ${line.name}`;
        assert(kind !== Kind.damaged, `${where} is lost: ${what}`);
        const same = after.cluster(i).equals(before.cluster(i));
        assert(same, `${where} comes back as another: ${what}`);
      }
    }
  }
};
