// host: runs a user's stage in a thread of the engine's, and holds it to the contract. What it may not change is looked
// at after every batch: which part of the image the batch stands for, kinds, places of payloads; of bytes a few clusters
// by their digests. In strict mode it is all of them, and the stage gets a copy of the batch that is overwritten when
// it returns: what it kept is rubbish when it looks at it again, and what it writes there is noticed.

import { allocatePages, DIGEST_BYTES, type Fault, fault } from '../disk/index.js';
import {
  Batch,
  type Desk,
  Kind,
  type KindName,
  type Stage,
  type StageThread,
  slabBytes,
  stage,
} from '../pipeline/index.js';
import { type DigestOptions, openFingerprint } from './fingerprint.js';
import { importModule } from './plug/import.js';
import { Loan } from './plug/lent.js';

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

/** What a stage has done against the contract. */
const broke = (stage: string, offset: number, what: string): Fault =>
  fault('stage-broke', { stage, offset, what });

/** What a stage must leave as it is. */
interface Before {
  readonly offset: number;
  readonly length: number;
  readonly live: number;
  readonly kinds: Uint8Array;
  readonly starts: Uint32Array;
  readonly lengths: Uint32Array;
  readonly digests: Buffer;
}

const beforeOf = (batch: Batch): Before => ({
  offset: batch.offset,
  length: batch.length,
  live: batch.live,
  kinds: batch.kinds.slice(0, batch.count),
  starts: batch.starts.slice(0, batch.count),
  lengths: batch.lengths.slice(0, batch.count),
  digests: Buffer.from(batch.digests.subarray(0, batch.count * DIGEST_BYTES)),
});

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
  const { default: definition } = (await importModule(module)) as { default: Stage };
  const thread = await definition.open(options.options, desk);
  const fingerprint = openFingerprint(options.digests, desk.clusterSize);
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
    const { clusterSize } = batch.layout;
    for (let i = 0; i < batch.count; i += 1) {
      const what =
        wrongKind(batch, before, i) ??
        (batch.kinds[i] === Kind.packed &&
        (batch.starts[i] !== before.starts[i] || batch.lengths[i] !== before.lengths[i])
          ? 'moved or cut a payload'
          : undefined);
      if (what) throw broke(name, batch.offset + i * clusterSize, what);
    }
  };

  /** Digests some clusters again, all in strict mode: their bytes must be what they were. */
  const checkBytes = (batch: Batch, before: Before): void => {
    const { clusterSize } = batch.layout;
    const step = strict ? 1 : Math.max(1, Math.floor(batch.count / SAMPLE));
    const first = strict ? 0 : Math.floor(Math.random() * step);
    for (let i = first; i < batch.count; i += step) {
      if (batch.kinds[i] !== Kind.plain) continue;
      fingerprint(batch.content(i), own, 0);
      if (own.compare(before.digests, i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES) === 0) continue;
      const what = 'changed bytes, which it does not announce with "changes"';
      throw broke(name, batch.offset + i * clusterSize, what);
    }
  };

  /** Puts right what follows from what the stage has done. */
  const settle = (batch: Batch, before: Before): void => {
    before.digests.copy(batch.digests);
    if (changes) batch.digested = false;
    batch.live = before.live;
    if (makes.length === 0) return;
    for (let i = 0; i < batch.count; i += 1) {
      if (batch.kinds[i] === before.kinds[i]) continue;
      if (batch.kinds[i] === Kind.same) batch.live -= 1;
      else batch.digests.fill(0, i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES);
    }
  };

  const check = (batch: Batch, before: Before): void => {
    checkPart(batch, before);
    checkKinds(batch, before);
    if (!changes && batch.digested) checkBytes(batch, before);
    settle(batch, before);
  };

  const perform = async (batch: Batch): Promise<void> => {
    if (!takes.some((kind) => batch.has(Kind[kind]))) return;
    const before = beforeOf(batch);
    last = batch.offset;
    if (!strict) {
      const work = thread.batch?.(batch);
      if (work instanceof Promise) await work;
      return check(batch, before);
    }
    checkLoan();
    loan ??= new LentBatch(batch);
    try {
      await thread.batch?.(loan.lend(batch));
    } finally {
      loan.giveBack(batch);
    }
    check(batch, before);
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
