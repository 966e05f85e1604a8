// The examiner of stages finds out those that break the contract, each by the test that is there for it.

import t from 'tap';
import {
  type NestingExaminer,
  type StageRequest,
  stageContract,
  use,
} from '../../examine/index.js';
import type { Way as CoderWay } from '../stages/bad/coder.js';
import type { Way as MoodyWay } from '../stages/bad/moody.js';
import type { Way } from '../stages/bad/observer.js';

t.setTimeout(180_000);

const bad = (name: string): string => new URL(`../stages/bad/${name}.js`, import.meta.url).href;
const observer = (way: Way): StageRequest => use(bad('observer'), { way });
const coder = (way: CoderWay): StageRequest => use(bad('coder'), { way });
const moody = (way: MoodyWay): StageRequest => use(bad('moody'), { way });

const SOUND = 'its declaration and its options are sound';
const CONSERVES = 'what it does not announce stays as it is';

/** A stage, the test that must fail, and what that must say. */
const LIARS: ReadonlyArray<readonly [StageRequest, string, RegExp]> = [
  [use(bad('none')), SOUND, /there is no such module/],
  [use(bad('observer'), { way: 'opens nothing', colour: 'red' }), SOUND, /"colour"/],
  [moody('has options that cannot be sent'), SOUND, /its options can be sent to threads/],
  [moody('concludes what is no figure'), SOUND, /a word or a figure, not NaN/],
  [observer('throws in open'), CONSERVES, /bad failed at image offset .*it broke.*before:compress/],
  [observer('changes one byte'), CONSERVES, /changed bytes.*at image offset/],
  [
    observer('makes a kind that it does not announce'),
    CONSERVES,
    /a kind that it does not announce/,
  ],
  [observer('changes digests'), CONSERVES, /changed digests/],
  [observer('keeps a batch and writes to it in flush'), CONSERVES, /given back/],
  [observer('keeps a batch and reads it'), 'it keeps nothing that it was lent', /those of 1 calls/],
  [
    observer('gathers all that it sees'),
    'its memory does not grow',
    /grows by \d+ bytes with every/,
  ],
  [coder('loses a byte'), CONSERVES, /could not decode what it had encoded/],
  [coder('returns too much'), CONSERVES, /its encode returned \d+, of at most \d+ bytes/],
  [coder('changes what it encodes'), CONSERVES, /changed bytes that its encode was given/],
  [coder('writes behind'), CONSERVES, /wrote behind the bytes/],
  [coder('keeps what it was given'), 'it keeps nothing that it was lent', /those of \d+ calls/],
  [coder('throws in flush'), 'each thread opens it, flushes it and closes it once', /it broke/],
  [moody('fills with noise'), 'the same batches give the same', /done again, the cluster at/],
  [moody('counts its batches'), 'several threads give what one gives', /in several threads/],
  [
    moody('closes only what was flushed'),
    'whatever throws, the run fails and the next one works',
    /closes it once/,
  ],
  [
    use(bad('deaf')),
    'it ends soon when the run is cancelled',
    /seconds after it was cancelled, of 2/,
  ],
];

/** Runs one of the tests; resolves to what it says when it fails. */
const failureOf = async (request: StageRequest, name: string): Promise<string | undefined> => {
  let failure: string | undefined;
  let found = false;
  const runner: NestingExaminer = {
    async test(title, body) {
      const isWanted = title === name;
      // The one around all, and the first, which has to have been run for the others.
      if (!isWanted && title !== SOUND && !title.startsWith('the stage')) return;
      found ||= isWanted;
      await body(runner).catch((error: Error) => {
        failure = isWanted ? error.message : `too early: ${error.message}`;
      });
    },
  };
  await stageContract(runner, request, { seed: 1 });
  return found ? failure : `there is no test "${name}"`;
};

for (const [request, name, says] of LIARS) {
  t.test(`${request.module.split('/').at(-1)}: ${request.options.way ?? name}`, async (t) => {
    t.match(await failureOf(request, name), says, name);
  });
}
