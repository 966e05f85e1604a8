// Stages that break the contract: the take fails with the stage's name and the place in the image, the store is as it
// was, and neither thread nor lock is left.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { Fault, Pools, type StageRequest, use } from '../../snapshot/index.js';
import { settledThreads, threadCount } from '../pipeline/line.js';
import type { Way as CoderWay } from '../stages/bad/coder.js';
import type { Place } from '../stages/bad/hanging.js';
import type { Way } from '../stages/bad/observer.js';
import { BATCH_BYTES, bad, Ground, within } from '../stages/store.js';
import { check } from '../tools/qemu.js';

t.setTimeout(300_000);

/** The batch at which it happens. */
const AT = 2 * BATCH_BYTES;

type Gap = NonNullable<StageRequest['at']>;
const observer = (way: Way, at?: Gap): StageRequest =>
  use(bad('observer'), { way, at: AT }, { at });
const coder = (way: CoderWay): StageRequest => use(bad('coder'), { way });

/** What a fault must say: which stage, where in the image, and what. */
interface Expected {
  readonly code: 'stage-failed' | 'stage-broke' | 'stage-stuck';
  /** The part of the image; left out: any, since the thread did not say. */
  readonly from?: number;
  readonly to?: number;
  readonly says: RegExp;
}

const assertFault = (t: Test, error: unknown, stage: string, what: string, expected: Expected) => {
  const { code, from = 0, to = 4 * BATCH_BYTES, says } = expected;
  if (!(error instanceof Fault)) return t.fail(`${what}: no fault`, { error });
  t.equal(error.code, code, what);
  t.equal(error.exitCode, 1, `${what}: the exit code`);
  t.match(error.message, says, what);
  t.match(error.message, new RegExp(`stage ${stage} .*at image offset \\d+`), what);
  const offset = Number(error.details.offset);
  t.ok(offset >= from && offset < to, `${what}: image offset ${offset}`);
};

const IN_BATCH = { from: AT, to: AT + BATCH_BYTES };
const FAILED = { code: 'stage-failed', says: /it broke/ } as const;
const EXITED = { code: 'stage-failed', says: /exit/ } as const;
const broke = (says: RegExp) => ({ code: 'stage-broke', ...IN_BATCH, says }) as const;

/** The same stage in the threads of the one before it. */
const LIGHT: ReadonlyArray<readonly [way: Way, expected: Expected, at: Gap]> = [
  ['throws in open', FAILED, 'before:dedup'],
  ['opens nothing', { code: 'stage-failed', says: /its open returned undefined/ }, 'before:write'],
  ['throws in batch', { ...FAILED, ...IN_BATCH }, 'before:dedup'],
  ['rejects in batch', { ...FAILED, ...IN_BATCH }, 'before:write'],
  ['throws from a timer', FAILED, 'after:write'],
  ['throws in flush', FAILED, 'before:write'],
  ['rejects in close', FAILED, 'before:dedup'],
  ['exits in batch', EXITED, 'before:write'],
  ['exits in close', EXITED, 'after:write'],
  ['changes digests', broke(/changed digests/), 'before:dedup'],
  ['changes payloads', broke(/changed bytes/), 'before:write'],
];

type Case = readonly [way: Way, expected: Expected, at?: Gap];

const CASES: readonly Case[] = [
  ['throws in open', FAILED],
  ['rejects in open', FAILED],
  ['opens nothing', { code: 'stage-failed', says: /its open returned undefined/ }],
  ['throws in batch', { ...FAILED, ...IN_BATCH }],
  ['rejects in batch', { ...FAILED, ...IN_BATCH }],
  ['throws a word', { ...FAILED, ...IN_BATCH }],
  ['throws from a timer', FAILED],
  ['rejects unheard', FAILED],
  ['throws in flush', FAILED],
  ['rejects in flush', FAILED],
  ['says what cannot be sent', { code: 'stage-failed', says: /could not be cloned/ }],
  ['throws in close', FAILED],
  ['rejects in close', FAILED],
  ['throws in conclude', FAILED],
  ['exits in open', EXITED],
  ['exits in batch', EXITED],
  ['exits from a timer', EXITED],
  ['exits in flush', EXITED],
  ['exits in close', EXITED],
  ['makes a kind that there is not', broke(/made a cluster of a kind/)],
  ['makes a kind that it does not announce', broke(/made a cluster of a kind/)],
  ['changes the kind of what it does not take', broke(/a cluster that it does not take/)],
  ['changes digests', broke(/changed digests/)],
  ['changes what is known of the parent', broke(/changed digests/), 'before:dedup'],
  ['changes lengths', broke(/lengths/), 'before:write'],
  ['changes payloads', broke(/changed bytes/), 'before:write'],
  ['changes places', broke(/places/), 'after:write'],
  ['changes offset', broke(/which part of the image/)],
  ['changes length', broke(/which part of the image/)],
  ['changes length to rubbish', broke(/which part of the image/)],
  ['changes all bytes', broke(/changed bytes/)],
  ['keeps all that it can get', broke(/holds 6\d\d\.\d MiB in one thread/)],
];

t.test('a stage that breaks the contract fails the take, and leaves nothing', async (t) => {
  const ground = await Ground.make(t);
  for (const [way, expected, at] of CASES) {
    const error = await ground.fails(t, way, [observer(way, at)]);
    assertFault(t, error, 'bad', way, expected);
  }
  await ground.judge.all(t);
});

t.test('so does one that shares the threads of another', async (t) => {
  const ground = await Ground.make(t);
  for (const [way, expected, at] of LIGHT) {
    const error = await ground.fails(t, way, [use(bad('light'), { way, at: AT }, { at })]);
    assertFault(t, error, 'bad', way, expected);
  }
  await ground.judge.all(t);
});

/** What is found out for certain only where a stage gets copies. */
const STRICT_CASES: readonly Case[] = [
  ['changes one byte', broke(/changed bytes/)],
  ['changes one byte', broke(/changed bytes/), 'before:dedup'],
  ['changes payloads', broke(/changed bytes/), 'before:write'],
  ['keeps a batch and writes to it later', { code: 'stage-broke', says: /changed bytes/ }],
  ['keeps a batch and writes to it in flush', { code: 'stage-broke', says: /given back/ }],
];

t.test('in strict mode every byte is watched, and those that were given back', async (t) => {
  const ground = await Ground.make(t);
  for (const [way, expected, at] of STRICT_CASES) {
    const error = await ground.fails(t, way, [observer(way, at)], { strictStages: true });
    assertFault(t, error, 'bad', way, expected);
  }
  await ground.judge.all(t);
});

const HANGS: ReadonlyArray<readonly [place: Place, busy: boolean]> = [
  ['open', true],
  ['open', false],
  ['batch', true],
  ['batch', false],
  ['flush', true],
  ['flush', false],
  ['close', true],
  ['close', false],
];

t.test(
  'a stage that does not come to an end fails the take when its patience is over',
  async (t) => {
    const ground = await Ground.make(t);
    for (const [place, busy] of HANGS) {
      const what = `${busy ? 'is busy' : 'waits'} for ever in ${place}`;
      const error = await ground.fails(t, what, [use(bad('hanging'), { place, busy })]);
      const ends = place === 'flush' || place === 'close';
      assertFault(t, error, 'hanging', what, {
        code: ends ? 'stage-failed' : 'stage-stuck',
        says: ends ? /come to an end within 1 seconds/ : /did not answer for 1 seconds/,
      });
    }
    await ground.judge.all(t);
  },
);

const CODED = { code: 'stage-failed', says: /its encode returned/ } as const;
const UNDECODED = { code: 'stage-broke', says: /could not decode what it had encoded/ } as const;

const CODERS: ReadonlyArray<readonly [way: CoderWay, expected: Expected, strict?: boolean]> = [
  ['throws in open', FAILED],
  ['throws in encode', FAILED],
  ['returns a promise', CODED],
  ['exits in encode', EXITED],
  ['throws in flush', FAILED],
  ['throws in close', FAILED],
  ['returns NaN', CODED],
  ['returns less than nothing', CODED],
  ['returns too much', CODED],
  ['returns a word', CODED],
  ['returns nothing', CODED],
  ['returns half a byte', CODED],
  ['loses a byte', UNDECODED],
  ['cannot decode', UNDECODED],
  ['decodes to another', UNDECODED],
  ['changes what it does not encode', { code: 'stage-broke', says: /changed bytes/ }],
  ['changes what it encodes', { code: 'stage-broke', says: /changed bytes/ }, true],
  ['writes behind', { code: 'stage-broke', says: /wrote behind/ }, true],
  ['writes to what it had given back', { code: 'stage-broke', says: /given back/ }, true],
  ['hangs in decode', { code: 'stage-stuck', says: /did not answer for 1 seconds/ }],
];

t.test(
  'a reversible stage that breaks the contract fails the take, and leaves nothing',
  async (t) => {
    const well = [coder('well')];
    const ground = await Ground.make(t, well);
    for (const [way, expected, strictStages = false] of CODERS) {
      const error = await ground.fails(t, way, [coder(way)], { strictStages });
      assertFault(t, error, 'coder', way, expected);
    }
    const { status, stderr } = await command(ground.command(`${bad('coder')},way=cannot decode`));
    t.equal(status, 1, stderr);
    await ground.isUntouched(t, 'the command');
  },
);

t.test('no thread stays, and the pools of a caller can be closed', async (t) => {
  const ground = await Ground.make(t);
  const cases = [
    ['throws in batch', observer('throws in batch')],
    ['exits in batch', observer('exits in batch')],
    ['throws in close', observer('throws in close')],
    ['is busy for ever', use(bad('hanging'), { place: 'batch', busy: true })],
  ] as const;
  let threads: number | undefined;
  for (const [what, stage] of cases) {
    const pools = new Pools();
    await ground.fails(t, what, [stage], { pools });
    await within(pools.close(), `${what}: closing the pools`);
    // The first one has started what stays in any process.
    threads ??= threadCount();
    t.ok((await settledThreads(threads)) <= threads, `no thread stays when it ${what}`);
  }
});

/** Runs a command line to its end. */
const command = async (args: readonly string[]) => {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const [[status], stderr] = await within(
    Promise.all([once(child, 'close') as Promise<[number | null]>, text(child.stderr)]),
    args.join(' '),
  );
  return { status, stderr };
};

t.test('the command ends by itself, with exit code 1', async (t) => {
  const ground = await Ground.make(t);
  const cases = [
    [
      `${bad('observer')},way=throws in batch,at=${AT}`,
      new RegExp(`bad failed at image offset ${AT}`),
    ],
    [`${bad('observer')},way=exits in batch,at=${AT}`, /bad failed at image offset \d+.*exit/],
    [
      `${bad('hanging')},place=batch,busy=true`,
      /hanging did not answer for 1 seconds at image offset 0/,
    ],
  ] as const;
  for (const [stage, says] of cases) {
    const { status, stderr } = await command(ground.command(stage));
    t.equal(status, 1, `${stage}: ${stderr}`);
    t.match(stderr, says);
    t.notMatch(stderr, /\n\s+at /, 'no stack trace');
    await ground.isUntouched(t, stage);
  }
  t.equal(check(ground.store).status, 0, 'qemu-img finds the store clean');
});
