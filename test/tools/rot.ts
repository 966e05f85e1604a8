// Turns over single bytes of a store and sees what becomes of its snapshots: each comes back exactly or not at
// all, and what can be noticed is noticed.

import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { check, Fault, Pools, type Range, restore, verify } from '../../snapshot/index.js';
import { chartOf, decodesAlike, isTelling, PARTS, type Part, type RotChart } from './rot-chart.js';
import type { Sample } from './rot-sample.js';

const SLOW_MS = 1000;
/** A busy machine may be slow, but not so often in a row at the same thing. */
const SLOW_TRIES = 3;
/** Of the flips that made a restore refuse, one in so many is restored past its damage. */
const SKIP_STEP = 5;

/** One byte in so many is turned over where not all are: primes, as no table has fields at such a distance. */
const STEPS: Readonly<Record<Part, number>> = {
  unused: 997,
  'header, idle fields': 7,
  'snapshot table, idle fields': 7,
  'empty L2 entry': 499,
  'payload length in L2 entry': 5,
  'behind the image': 97,
  'payload, idle bits': 1,
  header: 5,
  facts: 7,
  'snapshot table': 13,
  'L1 entry': 7,
  'L2 entry': 13,
  refcounts: 499,
  digests: 211,
  data: 197,
  payload: 101,
};

/** What became of a store with one byte turned over. */
export const VERDICTS = ['harmless', 'reported only', 'refused', 'WRONG'] as const;
export type Verdict = (typeof VERDICTS)[number];

/** How a byte turns over: one bit of it, which the byte's place chooses. */
const bitOf = (at: number): number => 1 << (Math.imul(at + 1, 0x9e37_79b1) >>> 29);

type Counts = Record<Verdict, number>;
const NOTHING: Counts = { harmless: 0, 'reported only': 0, refused: 0, WRONG: 0 };

/** Turns over bytes of one store, and keeps count. */
export class Rot {
  readonly #pools: Pools | undefined;
  readonly #t: Test;
  readonly #sample: Sample;
  readonly #sound: Buffer;
  readonly #chart: RotChart;
  readonly #output: string;
  readonly #fd: number;
  readonly #counts = new Map<Part, Counts>();
  /** Restores past damage that came through, and bytes that they left out. */
  readonly skipped = { restores: 0, badBytes: 0 };
  #refused = 0;
  slowestMs = 0;

  constructor(t: Test, sample: Sample) {
    // Users' stages always have threads, which would start with every call.
    this.#pools = sample.stages.length > 0 ? new Pools() : undefined;
    t.teardown(() => this.#pools?.close());
    this.#t = t;
    this.#sample = sample;
    this.#sound = fs.readFileSync(sample.store);
    this.#chart = chartOf(sample.store);
    this.#output = join(sample.folder, 'out');
    this.#fd = fs.openSync(sample.store, 'r+');
    t.teardown(() => fs.closeSync(this.#fd));
  }

  /** Turns over every byte, one after another. */
  async all(): Promise<void> {
    for (let at = 0; at < this.#sound.length; at += 1) await this.flip(at);
  }

  /**
   * Turns over some bytes of each part: more of the small ones, few of those that say nothing; with `sparsely` only one
   * of so many.
   */
  async some(offset: number, sparsely = 1): Promise<void> {
    const seen = new Map<Part, number>();
    for (let at = offset; at < this.#sound.length; at += 1) {
      const part = PARTS[this.#chart.parts[at] as number] as Part;
      if ((at - offset) % STEPS[part] !== 0) continue;
      const count = seen.get(part) ?? 0;
      seen.set(part, count + 1);
      if (count % sparsely === 0) await this.flip(at);
    }
  }

  /** What every call is told. */
  get #call() {
    const { store, stages } = this.#sample;
    return { store, stages, pools: this.#pools, threads: 1 };
  }

  #set(at: number, value: number): void {
    fs.writeSync(this.#fd, Buffer.of(value), 0, 1, at);
  }

  /** Runs `job` and its repetitions while it is slow. Anything thrown but a fault fails the test. */
  async #timed<T>(what: string, job: () => Promise<T>): Promise<T | Fault> {
    for (let tries = 1; ; tries += 1) {
      const began = performance.now();
      const result = await job().catch((error: unknown) => {
        if (error instanceof Fault) return error;
        throw new Error(`${what} throws what is not a fault`, { cause: error });
      });
      const ms = performance.now() - began;
      if (ms <= SLOW_MS || tries === SLOW_TRIES) {
        if (ms > SLOW_MS) this.#t.fail(`${what} takes ${Math.round(ms)} ms`);
        this.slowestMs = Math.max(this.slowestMs, ms);
        return result;
      }
    }
  }

  /** Restores one snapshot: exactly, not at all, or wrongly. */
  async #restored(
    what: string,
    tag: string,
    image: Buffer,
  ): Promise<'exact' | 'refused' | 'WRONG'> {
    const output = this.#output;
    const done = await this.#timed(`${what}, restore ${tag}`, () =>
      restore({ ...this.#call, snapshot: tag, output, force: true }),
    );
    if (done instanceof Fault) return 'refused';
    const right = done.imageBytes === image.length && fs.readFileSync(output).equals(image);
    return right && done.verified ? 'exact' : 'WRONG';
  }

  /** Restores past damage: what is not listed as bad must be right. */
  async #restoredInPart(what: string, tag: string, image: Buffer): Promise<void> {
    const output = this.#output;
    const done = await this.#timed(`${what}, restore past damage ${tag}`, () =>
      restore({ ...this.#call, snapshot: tag, output, force: true, skipDamaged: true }),
    );
    if (done instanceof Fault) return;
    const found = fs.readFileSync(output);
    const blank = (bytes: Buffer, { start, length }: Range): Buffer =>
      bytes.fill(0, start, start + length);
    const expected = Buffer.from(image);
    for (const range of done.badRanges) for (const all of [expected, found]) blank(all, range);
    this.skipped.restores += 1;
    this.skipped.badBytes += done.badBytes;
    if (!found.equals(expected)) this.#t.fail(`${what}: a byte not listed as bad is wrong`);
    if (done.badList) fs.rmSync(done.badList);
  }

  /** True when a verification or a check has anything to say. */
  async #isReported(what: string): Promise<boolean> {
    const { store, stages } = this.#sample;
    const verified = await this.#timed(`${what}, verify`, () => verify(this.#call));
    const checked = await this.#timed(`${what}, check`, () => check({ store, stages }));
    if (verified instanceof Fault || checked instanceof Fault) return true;
    const { corruptions, leaks, notes } = checked;
    const { damagedClusters, damage, unverifiable } = verified;
    return corruptions + leaks + notes + damagedClusters + damage.length + unverifiable.length > 0;
  }

  async #judge(what: string): Promise<Verdict> {
    const outcomes: string[] = [];
    for (const [tag, image] of this.#sample.images) {
      const outcome = await this.#restored(what, tag, image);
      outcomes.push(outcome);
      if (outcome !== 'refused') continue;
      this.#refused += 1;
      if (this.#refused % SKIP_STEP === 0) await this.#restoredInPart(what, tag, image);
    }
    const reported = await this.#isReported(what);
    if (outcomes.includes('WRONG')) return 'WRONG';
    if (outcomes.includes('refused')) return 'refused';
    return reported ? 'reported only' : 'harmless';
  }

  /** True when the payload around a byte that is turned over decodes to what it did. */
  #decodesAlike(at: number): boolean {
    const payload = this.#chart.payloads.find(({ start, end }) => start <= at && at < end);
    if (!payload) return false;
    const before = this.#sound.subarray(payload.start, payload.end);
    const after = Buffer.from(before);
    after[at - payload.start] = (after[at - payload.start] as number) ^ bitOf(at);
    return decodesAlike(this.#chart, before, after);
  }

  /** Turns one byte over, judges, and turns it back. */
  async flip(at: number): Promise<void> {
    const part = PARTS[this.#chart.parts[at] as number] as Part;
    const value = this.#sound[at] as number;
    const what = `byte ${at} (${part}) ^ ${bitOf(at)}`;
    this.#set(at, value ^ bitOf(at));
    try {
      const verdict = await this.#judge(what);
      const isIdle = verdict === 'harmless' && part === 'payload' && this.#decodesAlike(at);
      const seen = isIdle ? 'payload, idle bits' : part;
      const counts = this.#counts.get(seen) ?? { ...NOTHING };
      counts[verdict] += 1;
      this.#counts.set(seen, counts);
      if (verdict === 'WRONG') this.#t.fail(`${what}: a restore gives other bytes than were taken`);
      if (verdict === 'harmless' && isTelling(seen)) this.#t.fail(`${what}: nobody notices`);
    } finally {
      this.#set(at, value);
    }
  }

  count(verdict: Verdict, part?: Part): number {
    const all = part ? [this.#counts.get(part)] : [...this.#counts.values()];
    return all.reduce((sum, counts) => sum + (counts?.[verdict] ?? 0), 0);
  }

  visited(part: Part): boolean {
    return this.#counts.has(part);
  }

  /** Says what was counted, and asserts that the store is as it was. */
  report(name: string): void {
    const say = (counts: (verdict: Verdict) => number): string =>
      VERDICTS.map((verdict) => `${verdict} ${counts(verdict)}`).join(', ');
    this.#t.comment(`${name}, all: ${say((verdict) => this.count(verdict))}`);
    for (const part of PARTS) {
      if (this.#counts.has(part))
        this.#t.comment(`${name}, ${part}: ${say((v) => this.count(v, part))}`);
    }
    const { restores, badBytes } = this.skipped;
    this.#t.comment(`${name}: ${restores} restores past damage left ${badBytes} bytes out`);
    this.#t.comment(`${name}: the slowest call took ${this.slowestMs.toFixed(0)} ms`);
    this.#t.ok(fs.readFileSync(this.#sample.store).equals(this.#sound), 'reading changes nothing');
  }
}

/** Says what was counted, and what must be true of it; what each flip did was asserted on the way. */
export const assertRot = (t: Test, name: string, rot: Rot, absent: readonly Part[] = []): void => {
  rot.report(name);
  t.equal(rot.count('WRONG'), 0, 'never a wrong byte');
  t.ok(rot.count('refused') > 0 && rot.count('reported only') > 0, 'damage is noticed');
  const missed = PARTS.filter((part) => isTelling(part) && !rot.visited(part));
  t.same(missed, absent, 'no part is left out');
  const idle = rot.count('harmless', 'payload, idle bits');
  t.ok(idle <= rot.count('refused', 'payload') / 50, 'few bits of a payload are idle', { idle });
  t.ok(rot.skipped.badBytes > 0, 'some of what is damaged can be passed over');
};
