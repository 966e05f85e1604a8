// Hostile files, made from sound ones by somebody who knows the format: whatever is in a file, every command
// answers or refuses it in one sentence, soon, within bounded memory, and leaves nothing behind. What a case
// is follows from the seed and its number:
//
//   NVSNAP_FUZZ_SEED=7 NVSNAP_FUZZ_CASE=1234 node --test dist/test/slow/fuzz.test.js

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Random, tempDir } from '../tools/files.js';
import { mutate } from '../tools/hostile.js';
import { type Chart, chartOf } from '../tools/hostile-chart.js';
import { hostImage, makeSeeds, type Seed } from '../tools/hostile-seeds.js';
import { Ordeal } from '../tools/ordeal.js';
import { bytesInUse, PeakMeter } from '../tools/peak.js';

const FULL = process.env.NVSNAP_SLOW === 'full';
t.setTimeout(FULL ? 5 * 3_600_000 : 600_000);

const SEED = Number(process.env.NVSNAP_FUZZ_SEED ?? 1);
const ONLY = process.env.NVSNAP_FUZZ_CASE;
const CASES = Number(process.env.NVSNAP_FUZZ_CASES ?? 1_000_000);
const SLICE_MS = 20_000;
/** What one case may use more than there was before it. */
const MAX_CASE_BYTES = 400 * 2 ** 20;
/** Cases run before what is in use is looked at: what is loaded by then is no leak. */
const WARM_UP = 500;
const MAX_LEAK_BYTES = 32 * 2 ** 20;
/** So many failures say enough. */
const MAX_FAILURES = 20;
const SLOWEST = 5;
const WRITING: ReadonlySet<string> = new Set(['take', 'remove']);

const random = (index: number): Random => new Random(Math.imul(SEED, 0x9e37_79b1) + index);

t.test('hostile files', async (t) => {
  const folder = tempDir(t);
  const seeds = await makeSeeds(folder);
  const charts = new Map<Seed, Chart>();
  for (const seed of seeds) {
    const path = join(folder, 'seed');
    fs.writeFileSync(path, seed.raw);
    charts.set(seed, chartOf(path));
    fs.rmSync(path);
  }
  const place = fs.mkdtempSync(join(folder, 'ordeal-'));
  const ordeal = new Ordeal(place, hostImage(9));
  const trials = Object.keys(ordeal.trials);
  const counts = new Map<string, { done: number; refused: number }>();
  const slowest: { ms: number; name: string }[] = [];
  const peak = new PeakMeter();
  let failures = 0;

  const runCase = async (index: number): Promise<void> => {
    const choice = random(index);
    // Of two the smaller: a large one takes many times as long to write and to look at.
    const trial = trials[index % trials.length] as string;
    // What changes a store refuses those of others at once, so it is seldom shown one.
    const from = WRITING.has(trial) && choice.below(8) > 0 ? seeds.filter(({ own }) => own) : seeds;
    const [a, b] = [0, 1].map(() => from[choice.below(from.length)]) as [Seed, Seed];
    const seed = a.raw.length < b.raw.length ? a : b;
    const { raw, size, done } = mutate(seed, charts.get(seed) as Chart, choice);
    const name = `seed ${SEED}, case ${index}: ${trial} of ${seed.name}, ${done.join(' + ')}`;
    ordeal.hold(raw, size);
    peak.begin();
    try {
      for (const { ms, fault } of await ordeal.undergo(trial, seed.tags)) {
        const count = counts.get(trial) ?? { done: 0, refused: 0 };
        count[fault ? 'refused' : 'done'] += 1;
        counts.set(trial, count);
        slowest.push({ ms, name });
      }
      slowest.sort((a, b) => b.ms - a.ms).splice(SLOWEST);
      peak.end(name);
    } catch (error) {
      failures += 1;
      const { message, cause } = error as Error;
      t.fail(name, { error: message, cause: cause instanceof Error ? String(cause.stack) : '' });
      for (const left of fs.readdirSync(place)) {
        if (left !== 'image') fs.rmSync(join(place, left), { force: true });
      }
    }
  };

  if (ONLY !== undefined) {
    await runCase(Number(ONLY));
    t.comment([...counts].map(([trial, count]) => `${trial} ${JSON.stringify(count)}`).join());
    return;
  }
  const began = performance.now();
  let index = 0;
  let warm = 0;
  const isOver = (): boolean =>
    FULL ? index >= CASES : performance.now() - began > SLICE_MS && index > WARM_UP;
  for (; !isOver() && failures < MAX_FAILURES; index += 1) {
    if (index === WARM_UP) warm = await bytesInUse();
    await runCase(index);
  }
  const seconds = (performance.now() - began) / 1000;
  const leaked = (await bytesInUse()) - warm;
  t.comment(`seed ${SEED}: ${index} cases, ${Math.round(index / seconds)} a second`);
  for (const [trial, { done, refused }] of counts) {
    t.comment(`${trial}: ${done} answered, ${refused} refused`);
  }
  for (const { ms, name } of slowest) t.comment(`slowest: ${ms.toFixed(0)} ms, ${name}`);
  t.comment(`most memory: ${Math.round(peak.most.bytes / 2 ** 20)} MiB, ${peak.most.name}`);
  t.comment(`in use: ${Math.round(leaked / 2 ** 20)} MiB more than after ${WARM_UP} cases`);
  t.equal(failures, 0, 'no case does what none may do');
  t.ok(peak.most.bytes < MAX_CASE_BYTES, 'memory is bounded', peak.most);
  t.ok(leaked < MAX_LEAK_BYTES, 'and nothing is kept', { leaked });
  for (const trial of trials) {
    const { done = 0, refused = 0 } = counts.get(trial) ?? {};
    t.ok(done > 0 && refused > 0, `${trial}: some is answered, some refused`);
  }
});
