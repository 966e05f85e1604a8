// host: runs a user's stage in a thread of the engine's, and holds it to the contract. What it may not change is looked
// at after every batch: which part of the image the batch stands for, kinds, digests, places; of bytes a few clusters and
// payloads by their digests. In strict mode it is all of them, and the stage gets a copy of the batch that is overwritten
// when it returns: what it kept is rubbish when it looks at it again, and what it writes there is noticed.

import {
  allocatePages,
  DIGEST_BYTES,
  type DigestOptions,
  type Fault,
  fault,
  openDigester,
  sameDigest,
} from '../disk/index.js';
import {
  Batch,
  type Desk,
  Kind,
  type KindName,
  type StageThread,
  slabBytes,
  stage,
} from '../pipeline/index.js';
import { checkKeeping } from './plug/keeping.js';
import { Loan } from './plug/lent.js';
import { openModule } from './plug/open.js';

export interface HostOptions {
  /** Of the stage, in its line. */
  readonly name: string;
  /** URL of the user's module. */
  readonly module: string;
  /** What its `parse` made. */
  readonly options: unknown;
  readonly takes: readonly KindName[];
  readonly makes: readonly KindName[];
  readonly changes: boolean;
  /** How the digests are made that its batches come with. */
  readonly digests: DigestOptions;
  readonly strict: boolean;
}

/** Clusters of a batch that are digested again outside strict mode: enough for a stage that does it often. */
const SAMPLE = 4;

const CHANGED_BYTES = 'changed bytes, which it does not announce with "changes"';

/** What a stage has done against the contract. */
const broke = (stage: string, offset: number, what: string): Fault =>
  fault('stage-broke', { stage, offset, what });

/** All that a batch says of its clusters but their kinds: places, lengths and digests. */
const notesOf = ({ whole, places, kinds }: Batch): Buffer =>
  whole.subarray(places.byteOffset - whole.byteOffset, kinds.byteOffset - whole.byteOffset);

/** What a stage must leave as it is. */
interface Before {
  readonly offset: number;
  readonly length: number;
  readonly live: number;
  readonly digested: boolean;
  readonly unproven: boolean;
  readonly kinds: Uint8Array;
  readonly notes: Buffer;
}

const beforeOf = (batch: Batch): Before => ({
  offset: batch.offset,
  length: batch.length,
  live: batch.live,
  digested: batch.digested,
  unproven: batch.unproven,
  kinds: batch.kinds.slice(0, batch.count),
  notes: Buffer.from(notesOf(batch)),
});

/** The payload of a packed cluster. */
const payloadOf = ({ packed, starts, lengths }: Batch, i: number): Buffer => {
  const start = starts[i] as number;
  return packed.subarray(start, start + (lengths[i] as number));
};

/** A batch of the stage's own, in strict mode. */
class LentBatch {
  readonly #batch: Batch;
  readonly #loan: Loan;

  constructor({ slab, layout }: Batch) {
    this.#batch = new Batch(slab, layout, allocatePages(slabBytes(layout)));
    this.#loan = new Loan(this.#batch.whole);
  }

  get untouched(): boolean {
    return this.#loan.untouched;
  }

  lend(batch: Batch): Batch {
    this.#loan.lend(batch.whole);
    return this.#batch;
  }

  giveBack(batch: Batch): void {
    this.#batch.whole.copy(batch.whole);
    this.#loan.giveBack();
  }
}

const open = async (options: HostOptions, desk: Desk): Promise<StageThread> => {
  const { name, module, takes, makes, changes, strict } = options;
  const thread = await openModule(module, options.options, desk);
  const { clusterSize } = desk;
  const digester = openDigester(options.digests);
  const taken = new Set<number>(takes.map((kind) => Kind[kind]));
  const made = new Set<number>(makes.map((kind) => Kind[kind]));
  const own = Buffer.alloc(DIGEST_BYTES);
  let loan: LentBatch | undefined;
  /** The batch that was with the stage last. */
  let last = 0;

  const checkLoan = (): void => {
    if (loan?.untouched === false) throw broke(name, last, 'wrote to bytes that it had given back');
  };

  /** What is wrong with cluster `i` after the stage had it, if anything is. */
  const wrongKind = (batch: Batch, before: Before, i: number): string | undefined => {
    const [was, is] = [before.kinds[i] as number, batch.kinds[i] as number];
    if (was === is) return undefined;
    if (!taken.has(was)) return 'changed the kind of a cluster that it does not take';
    if (!made.has(is)) return 'made a cluster of a kind that it does not announce';
    return undefined;
  };

  const checkPart = (batch: Batch, before: Before): void => {
    if (batch.offset === before.offset && batch.length === before.length) return;
    batch.begin(before.offset, before.length);
    throw broke(name, before.offset, 'changed which part of the image its batch stands for');
  };

  const checkKinds = (batch: Batch, before: Before): void => {
    for (let i = 0; i < batch.count; i += 1) {
      const what = wrongKind(batch, before, i);
      if (what) throw broke(name, batch.offset + i * batch.layout.clusterSize, what);
    }
  };

  /** Some clusters of which the bytes are known, others each time. */
  const sampleOf = (batch: Batch): number[] => {
    const known: number[] = [];
    for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
      const kind = batch.kinds[i];
      if (kind === Kind.packed || (kind === Kind.plain && batch.digested)) known.push(i);
    }
    const step = Math.max(1, Math.floor(known.length / SAMPLE));
    const first = Math.floor(Math.random() * step);
    return known.filter((_, k) => k % step === first);
  };

  /** Digests what is to be stored for cluster `i`; false when nothing is known of it. */
  const digest = (batch: Batch, i: number, into: Buffer, at: number): boolean => {
    const kind = batch.kinds[i];
    if (kind === Kind.packed) digester.digest(payloadOf(batch, i), into, at);
    else if (kind === Kind.plain && batch.digested) {
      digester.fingerprints(batch.content(i), clusterSize, into, at);
    } else return false;
    return true;
  };

  /** Digests some clusters; what is returned does it again, and throws when their bytes have changed. */
  const watchBytes = (batch: Batch): (() => void) => {
    const sample = sampleOf(batch);
    const digests = Buffer.alloc(sample.length * DIGEST_BYTES);
    for (const [k, i] of sample.entries()) {
      const at = k * DIGEST_BYTES;
      // Of what is plain the digest is there already.
      if (batch.kinds[i] === Kind.packed) digest(batch, i, digests, at);
      else batch.digests.copy(digests, at, i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES);
    }
    return () => {
      for (const [k, i] of sample.entries()) {
        if (!digest(batch, i, own, 0) || sameDigest(own, 0, digests, k * DIGEST_BYTES)) continue;
        throw broke(name, batch.offset + i * batch.layout.clusterSize, CHANGED_BYTES);
      }
    };
  };

  /** Holds all bytes of a batch that was lent against the original. */
  const compareBytes = (batch: Batch, original: Batch): void => {
    for (let i = 0; i < batch.count; i += 1) {
      const alike =
        batch.cluster(i).equals(original.cluster(i)) &&
        (original.kinds[i] !== Kind.packed || payloadOf(batch, i).equals(payloadOf(original, i)));
      if (!alike) throw broke(name, batch.offset + i * batch.layout.clusterSize, CHANGED_BYTES);
    }
  };

  /** Puts right what follows from what the stage has done. */
  const settle = (batch: Batch, before: Before): void => {
    batch.digested = before.digested && !changes;
    batch.unproven = before.unproven;
    batch.live = before.live;
    if (makes.length === 0) return;
    for (let i = 0; i < batch.count; i += 1) {
      const [was, is] = [before.kinds[i], batch.kinds[i]];
      if (is === was) continue;
      if (was === Kind.same) batch.live += 1;
      if (is === Kind.same) batch.live -= 1;
      else batch.digests.fill(0, i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES);
    }
  };

  /** `bytes` throws when bytes have changed that must not. */
  const check = (batch: Batch, before: Before, bytes: () => void): void => {
    checkPart(batch, before);
    if (!notesOf(batch).equals(before.notes)) {
      throw broke(name, before.offset, 'changed digests, lengths or places, which are not its own');
    }
    checkKinds(batch, before);
    checkKeeping(name, before.offset);
    if (!changes) bytes();
    settle(batch, before);
  };

  const perform = async (batch: Batch): Promise<void> => {
    if (!takes.some((kind) => batch.has(Kind[kind]))) return;
    const before = beforeOf(batch);
    last = batch.offset;
    if (!strict) {
      const bytes = changes ? () => {} : watchBytes(batch);
      const work = thread.batch?.(batch);
      if (work instanceof Promise) await work;
      return check(batch, before, bytes);
    }
    checkLoan();
    loan ??= new LentBatch(batch);
    const lent = loan.lend(batch);
    try {
      await thread.batch?.(lent);
      check(lent, before, () => compareBytes(lent, batch));
    } finally {
      loan.giveBack(batch);
    }
  };

  return {
    ...(thread.batch ? { batch: perform } : {}),
    async flush() {
      checkLoan();
      const part = await thread.flush?.();
      checkLoan();
      return part;
    },
    close: () => thread.close?.(),
  };
};

export default stage<HostOptions>({ name: 'host', open });
