// What every stage must hold.

import assert from 'node:assert/strict';
import { Fault } from '../disk/index.js';
import { Kind, type KindName } from '../pipeline/index.js';
import type { LineKind, StageSubject } from './subject.js';
import type { Bench, Seen, Tried } from './trial.js';
import { CALLS_PER_SAMPLE, type Call, SAMPLES, THROWN, Watch } from './watch.js';

/** Examines one property; rejects with an error that says how it is not held. */
export type Check = (bench: Bench, subject: StageSubject) => Promise<void>;

const KiB = 1024;
const SMALL = 4 * KiB;
const USUAL = 64 * KiB;
/** Cluster sizes, and how many clusters are tried of each. */
const SIZES: ReadonlyArray<readonly [clusterSize: number, clusters: number]> = [
  [USUAL, 24],
  [SMALL, 64],
  [2 * KiB * KiB, 4],
];
/** So many bytes of the largest clusters are a batch. */
const MOST_BATCH_BYTES = 4 * KiB * KiB;
/** More than a stage is likely to use. */
const THREADS = 2;

const nameOf = (kind: number | undefined): string =>
  Object.entries(Kind).find(([, value]) => value === kind)?.[0] ?? `of kind ${kind}`;

/** What must be alike whenever a stage did the same: nothing says where it is not. */
const alike = (a: Seen, b: Seen, clusterSize: number, when: string): void => {
  const i = a.differsFrom(b);
  const [is, was] = [nameOf(b.kinds[i]), nameOf(a.kinds[i])];
  assert(
    i < 0,
    `${when} the cluster at image offset ${i * clusterSize} comes out otherwise (${was === is ? `other bytes, ${is}` : `${was}, then ${is}`})`,
  );
};

const includes = (kinds: readonly KindName[], kind: number | undefined): boolean =>
  kinds.some((name) => Kind[name] === kind);

/** What a stage does not announce must be as it was. */
const conserved = (
  { before, after }: Tried,
  { takes, makes, changes }: StageSubject,
  clusterSize: number,
): void => {
  for (const [i, was] of before.kinds.entries()) {
    const is = after.kinds[i];
    const at = `the cluster at image offset ${i * clusterSize}`;
    const isMade = is !== was;
    assert(
      !isMade || (includes(takes, was) && includes(makes, is)),
      `${at} was ${nameOf(was)} and became ${nameOf(is)}, which the stage does not announce`,
    );
    const isGone = is === Kind.zero || is === Kind.same;
    if (isMade || isGone || (changes && includes(takes, was))) continue;
    const isAlike =
      was === Kind.packed
        ? before.payloads[i]?.equals(after.payloads[i] ?? Buffer.alloc(0))
        : before.cluster(i).equals(after.cluster(i));
    assert(isAlike, `${at} has other bytes (${nameOf(was)}), which the stage does not announce`);
  }
};

/** Runs a line; what must be conserved is. Says in which line and cluster size. */
const hold = async (
  bench: Bench,
  subject: StageSubject,
  trial: Parameters<Bench['run']>[0],
): Promise<Tried> => {
  try {
    const tried = await bench.run(trial);
    conserved(tried, subject, trial.clusterSize);
    return tried;
  } catch (error) {
    const { line, clusterSize, image } = trial;
    const where = `${line.name}, clusters of ${clusterSize} bytes, an image of ${image.length}`;
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`${reason} (${where})`, { cause: error });
  }
};

const conserves: Check = async (bench, subject) => {
  for (const [k, line] of subject.lines.entries()) {
    // Cluster sizes make no difference to where it stands.
    for (const [clusterSize, clusters] of k === 0 || line.codes ? SIZES : SIZES.slice(0, 1)) {
      const image = bench.image(clusterSize * clusters, clusterSize);
      const batchClusters = Math.min(8, MOST_BATCH_BYTES / clusterSize);
      await hold(bench, subject, { line, clusterSize, image, batchClusters, strict: true });
    }
  }
};

const shortTails: Check = async (bench, subject) => {
  for (const line of subject.lines) {
    for (const clusterSize of [SMALL, USUAL]) {
      for (const bytes of [
        1,
        clusterSize - 1,
        clusterSize + 1,
        9.5 * clusterSize,
        8 * clusterSize,
      ]) {
        const image = bench.image(bytes, clusterSize);
        await hold(bench, subject, { line, clusterSize, image, strict: true });
      }
    }
  }
};

/** A usual line over a usual image. */
const usual = (bench: Bench, line: LineKind, clusters = 64) => ({
  line,
  clusterSize: SMALL,
  image: bench.image(SMALL * clusters - 100, SMALL),
});

const repeats: Check = async (bench, subject) => {
  for (const line of subject.lines) {
    const trial = usual(bench, line);
    const first = await hold(bench, subject, trial);
    const again = await hold(bench, subject, trial);
    alike(first.after, again.after, SMALL, 'done again,');
    // Its bytes are rubbish as soon as they are given back: what it kept of them would show.
    const strict = await hold(bench, subject, { ...trial, strict: true });
    alike(first.after, strict.after, SMALL, 'with bytes that go when they are given back,');
  }
};

const worksTogether: Check = async (bench, subject) => {
  const [line] = subject.lines;
  const trial = { ...usual(bench, line, 160), batchClusters: 4 };
  const alone = await hold(bench, subject, trial);
  const together = await hold(bench, subject, {
    ...trial,
    threads: Math.min(THREADS, subject.threads),
  });
  alike(alone.after, together.after, SMALL, 'in several threads at once,');
  const opened = together.watch.count('open');
  const most = line.codes ? 2 * subject.threads : subject.threads;
  assert(opened <= most, `it was opened in ${opened} threads`);
};

/** What must be true of the calls when a run has ended; `sound`: well. */
const lifeIsWhole = ({ watch }: Pick<Tried, 'watch'>, sound: boolean, unopened = 0): void => {
  const opened = watch.count('open') - unopened;
  assert.equal(watch.count('close'), opened, 'every thread that opened it closes it once');
  if (sound) assert.equal(watch.count('flush'), opened, 'every thread flushes it once');
  assert.equal(watch.count('overlaps'), 0, 'in one thread it gets one call at a time');
  assert.equal(watch.count('late'), 0, 'nothing is asked of it after its end');
};

const endsWell: Check = async (bench, subject) => {
  for (const line of subject.lines) {
    const threads = Math.min(THREADS, subject.threads);
    const tried = await hold(bench, subject, { ...usual(bench, line), threads });
    assert(tried.watch.count('open') > 0, `nothing comes by (${line.name})`);
    lifeIsWhole(tried, true);
    const empty = await bench.run({ ...usual(bench, line), image: Buffer.alloc(0) });
    assert.equal(empty.watch.count('open'), 0, 'it is not opened where there is nothing to do');
  }
};

const keepsNothing: Check = async (bench, subject) => {
  for (const line of subject.lines) {
    const watch = new Watch({ lends: true });
    const trial = { ...usual(bench, line), strict: false };
    const tried = await hold(bench, subject, { ...trial, watch });
    const kept = tried.watch.count('kept');
    assert.equal(kept, 0, `it keeps bytes that it was lent: those of ${kept} calls (${line.name})`);
  }
};

const CANCELLED = 'cancelled';

const ends: Check = async (bench, subject) => {
  const [line] = subject.lines;
  // Before it has any, and while it has its first: so many can wait for it.
  for (const last of [1, 3]) {
    const cancel = new AbortController();
    const watch = new Watch();
    let come = 0;
    let began = 0;
    const coming = (): void => {
      come += 1;
      if (come !== last) return;
      began = performance.now();
      cancel.abort();
    };
    const trial = { ...usual(bench, line, 160), watch, coming, signal: cancel.signal };
    await assert.rejects(
      bench.run(trial),
      (error) => error instanceof Fault && error.code === CANCELLED,
      'a run that is cancelled says so',
    );
    const seconds = (performance.now() - began) / 1000;
    assert(
      seconds < subject.patience,
      `it came to an end ${seconds.toFixed(1)} seconds after it was cancelled, of ${subject.patience}`,
    );
    lifeIsWhole({ watch }, false);
  }
  await hold(bench, subject, usual(bench, line));
};

/** The calls at which it throws: the first of each kind, one in the middle, the last. */
const callsOf = ({ watch }: Tried): { readonly call: Call; readonly number: number }[] => {
  const calls: readonly Call[] = ['open', 'batch', 'encode', 'decode', 'flush', 'close'];
  return calls.flatMap((call) => {
    const count = watch.count(call);
    const numbers = new Set([1, Math.ceil(count / 2), count]);
    return [...numbers]
      .filter((number) => number > 0 && number <= count)
      .map((number) => ({ call, number }));
  });
};

const contains: Check = async (bench, subject) => {
  const [line] = subject.lines;
  const trial = usual(bench, line);
  const sound = await hold(bench, subject, trial);
  for (const throwsAt of callsOf(sound)) {
    const watch = new Watch({ throwsAt });
    const { call, number } = throwsAt;
    const what = `when ${call} number ${number} throws`;
    await assert.rejects(
      bench.run({ ...trial, watch }),
      (error) => error instanceof Fault && `${error.message}`.includes(THROWN),
      `${what} the run says so`,
    );
    lifeIsWhole({ watch }, false, call === 'open' ? 1 : 0);
    const next = await hold(bench, subject, trial);
    alike(sound.after, next.after, SMALL, `after a run that failed ${what},`);
  }
};

/** A stage may gather so much per call and still count as one that does not grow: figures, not data. */
const HEAP_BYTES_PER_CALL = 400;
/** What is not on the heap is seen in the process only, beside all that it does otherwise: half a cluster. */
const PROCESS_BYTES_PER_CALL = USUAL / 2;

/** What grows does so all the time; what fills a cache, or is warm once, does not. */
const leastGrowth = (bytes: readonly number[]): number =>
  Math.min(...bytes.slice(1).map((now, k) => now - (bytes[k] as number)));

const staysSmall: Check = async (bench, subject) => {
  const [line] = subject.lines;
  // One cluster a batch: two of three at least are such as a stage takes, and come with a call.
  const clusters = CALLS_PER_SAMPLE * SAMPLES * 2;
  const watch = new Watch({ measures: true });
  const image = bench.image(USUAL * clusters, USUAL);
  await bench.run({ line, clusterSize: USUAL, image, batchClusters: 1, watch, blind: true });
  for (const { heap, process } of watch.measured) {
    assert(
      heap.every((bytes) => bytes > 0),
      'it gets enough calls for its memory to be measured',
    );
    const [ofHeap, ofProcess] = [heap, process].map(
      (bytes) => leastGrowth(bytes) / CALLS_PER_SAMPLE,
    );
    assert(
      (ofHeap as number) < HEAP_BYTES_PER_CALL,
      `its heap grows by ${Math.round(ofHeap as number)} bytes with every call`,
    );
    assert(
      (ofProcess as number) < PROCESS_BYTES_PER_CALL,
      `the process grows by ${Math.round(ofProcess as number)} bytes with every call`,
    );
  }
};

/** What must hold, by the name of its test. */
export const CHECKS: Readonly<Record<string, Check>> = {
  'what it does not announce stays as it is': conserves,
  'a short tail of the image is no trap': shortTails,
  'the same batches give the same': repeats,
  'several threads give what one gives': worksTogether,
  'each thread opens it, flushes it and closes it once': endsWell,
  'it keeps nothing that it was lent': keepsNothing,
  'it ends soon when the run is cancelled': ends,
  'whatever throws, the run fails and the next one works': contains,
  'its memory does not grow': staysSmall,
};
