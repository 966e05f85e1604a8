// A fault at every call that a take makes of a stage, in each of its places and in a reversible one: the store is as it
// was, and the next take works.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { Fault, type StageRequest, use } from '../../snapshot/index.js';
import { bad, Ground } from '../stages/store.js';

t.setTimeout(180_000);

const FAULT = join(fileURLToPath(new URL('../../../examples', import.meta.url)), 'fault.js');
/** More calls than any of these takes makes. */
const MOST = 100;

/** Lets one call after another fail until none is left; resolves to how many there were. */
const failEach = async (
  t: Test,
  ground: Ground,
  stages: (at: number) => StageRequest[],
): Promise<string[]> => {
  const failed: string[] = [];
  for (let at = 1; at < MOST; at += 1) {
    const what = `call ${at}`;
    const error = await ground.tries(`fails at ${what}`, stages(at));
    if (error === undefined) return failed;
    if (!(error instanceof Fault)) throw error;
    // What cannot be decoded at once was encoded wrongly.
    const isProof = error.message.includes('decode');
    t.equal(error.code, isProof ? 'stage-broke' : 'stage-failed', what);
    t.match(error.message, new RegExp(`image offset \\d+|\\(${what}`), what);
    t.match(error.message, `${what} was to fail`);
    failed.push(/to fail: (the batch at \d+|[a-z]+)/.exec(error.message)?.[1] ?? '');
    await ground.isUntouched(t, what);
  }
  throw new Error('there is no end of calls');
};

const PLACES = [
  'before:dedup',
  'before:pad',
  'before:compress',
  'before:write',
  'after:write',
] as const;

for (const at of PLACES) {
  t.test(`every call of a stage that stands ${at}`, async (t) => {
    const ground = await Ground.make(t);
    const failed = await failEach(t, ground, (call) => [use(FAULT, { at: call }, { at })]);
    const batches = [0, 1, 2, 3].map((k) => `the batch at ${k * 2 ** 20}`);
    t.same(failed, ['open', ...batches, 'flush', 'close', 'conclude']);
    await ground.judge.all(t);
  });
}

t.test('every call of a reversible stage', async (t) => {
  const ground = await Ground.make(t, [use(bad('counting'), { at: MOST })]);
  const failed = await failEach(t, ground, (at) => [use(bad('counting'), { at })]);
  t.ok(failed.filter((call) => call === 'encode').length >= 12, 'for each cluster', { failed });
  t.ok(failed.includes('decode'), 'what is decoded at once counts too');
  t.same([failed[0], ...failed.slice(-2)], ['open', 'flush', 'close']);
});
