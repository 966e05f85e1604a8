// A stage that breaks the contract in one way, as it is told. It stands anywhere.

import { type Batch, Kind, stage } from '../../../pipeline/index.js';

const broke = (): never => {
  throw new Error('it broke');
};
const later = (work: () => void): void => {
  setImmediate(work);
};

/** What a stage that leaks never gives back. */
const kept: Buffer[] = [];

/** What it does with the batch at the offset that it is told. */
const IN_BATCH = {
  'throws in batch': broke,
  'rejects in batch': () => Promise.reject(new Error('it broke')),
  'throws a word': () => {
    // biome-ignore lint/style/useThrowOnlyError: what a careless stage may do
    throw 'it broke';
  },
  'throws from a timer': () => later(broke),
  'rejects unheard': () => {
    void Promise.resolve().then(broke);
  },
  'exits in batch': () => process.exit(0),
  'exits from a timer': () => later(() => process.exit(3)),
  'makes a kind that there is not': (batch: Batch) => {
    batch.kinds[batch.nextLive(0)] = 99;
  },
  'makes a kind that it does not announce': (batch: Batch) => {
    batch.kinds[batch.kinds.indexOf(Kind.plain)] = Kind.zero;
  },
  'changes the kind of what it does not take': (batch: Batch) => {
    batch.kinds[batch.kinds.indexOf(Kind.same)] = Kind.plain;
  },
  'changes digests': (batch: Batch) => {
    batch.digests.fill(1);
  },
  'changes what is known of the parent': (batch: Batch) => {
    batch.digests.copy(batch.known);
  },
  'changes lengths': (batch: Batch) => {
    batch.lengths[batch.kinds.indexOf(Kind.packed)] = 1;
  },
  'changes places': (batch: Batch) => {
    batch.places.reverse();
  },
  'changes offset': (batch: Batch) => batch.begin(0, batch.length),
  'changes length': (batch: Batch) => batch.shorten(1),
  'changes length to rubbish': (batch: Batch) => batch.begin(batch.offset, Number.NaN),
  'changes all bytes': (batch: Batch) => {
    batch.data.fill(7);
  },
  'changes payloads': (batch: Batch) => {
    batch.packed.fill(7);
  },
  'keeps all that it can get': () => {
    kept.push(Buffer.alloc(600 * 2 ** 20));
  },
  'changes one byte': (batch: Batch) => {
    const cluster = batch.content(batch.kinds.indexOf(Kind.plain));
    cluster[9] = (cluster[9] as number) ^ 1;
  },
} satisfies Record<string, (batch: Batch) => unknown>;

const AROUND = [
  'throws in open',
  'rejects in open',
  'opens nothing',
  'exits in open',
  'throws in flush',
  'rejects in flush',
  'exits in flush',
  'says what cannot be sent',
  'throws in close',
  'rejects in close',
  'exits in close',
  'throws in conclude',
  'keeps a batch and writes to it later',
  'keeps a batch and writes to it in flush',
  'keeps a batch and reads it',
  'gathers all that it sees',
  'counts from one run to the next',
] as const;

export type Way = keyof typeof IN_BATCH | (typeof AROUND)[number];

interface Options {
  readonly way: Way;
  /** The image offset of the batch at which it happens. */
  readonly at: number;
}

/** Of all runs in this thread. */
let seen = 0;

export default stage<Options, unknown>({
  name: 'bad',
  usage: { way: 'what it does', at: 'the image offset at which it does it' },
  parse: ({ way, at = 0 }) => {
    if (typeof way !== 'string') throw new Error('it needs way=WAY');
    return { way: way as Way, at: Number(at) };
  },
  at: ['before:compress', 'before:dedup', 'before:pad', 'before:write', 'after:write'],
  takes: ['plain', 'packed'],

  open({ way, at }) {
    if (way === 'throws in open') broke();
    if (way === 'rejects in open') return Promise.reject(new Error('it broke'));
    if (way === 'exits in open') process.exit(1);
    if (way === 'opens nothing') return undefined as never;
    let kept: Batch | undefined;
    const gathered: Buffer[] = [];
    return {
      batch(batch) {
        seen += 1;
        if (way === 'keeps a batch and writes to it later') kept?.data.fill(9);
        if (way === 'gathers all that it sees') gathered.push(Buffer.from(batch.content(0)));
        if (way.startsWith('keeps')) kept ??= batch;
        if (way === 'counts from one run to the next' && seen % 7 === 0) batch.kinds[0] = Kind.zero;
        if (batch.offset === at) return IN_BATCH[way as keyof typeof IN_BATCH]?.(batch) as void;
      },
      flush() {
        if (way === 'throws in flush') broke();
        if (way === 'rejects in flush') return Promise.reject(new Error('it broke'));
        if (way === 'exits in flush') process.exit(0);
        if (way === 'says what cannot be sent') return () => {};
        if (way === 'keeps a batch and writes to it in flush') kept?.data.fill(9);
        return { way };
      },
      close() {
        if (way === 'throws in close') broke();
        if (way === 'rejects in close') return Promise.reject(new Error('it broke'));
        if (way === 'exits in close') process.exit(0);
      },
    };
  },

  conclude(parts) {
    if ((parts as Options[]).some((part) => part.way === 'throws in conclude')) broke();
    return { parts: parts.length };
  },
});
