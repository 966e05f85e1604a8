// A bulk run that is killed: every store is old or new.

import fs from 'node:fs';
import t from 'tap';
import { MiB } from '../../disk/index.js';
import { Random, tempDir } from '../tools/files.js';
import { Images, writeJobs } from '../tools/jobs.js';
import { Before, stopWhenWritten } from '../tools/kills.js';
import { nvsnap } from '../tools/nvsnap.js';

t.setTimeout(120_000);

const SIZES = [3, 5, 2, 4, 3, 6].map((size) => size * MiB);
const KILLS = 3;

t.test('kill -9 in the middle leaves every store old or new', async (t) => {
  const images = new Images(tempDir(t), SIZES, 7);
  const random = new Random(11);
  const take = (tag: string): string[] => {
    const jobs = images.jobs({ tag });
    const path = writeJobs(images.folder, { concurrency: 2, otherImage: true, jobs });
    return ['take', '--jobs', path, '--json'];
  };
  t.match(await nvsnap(take('one')), { status: 0 });
  const befores = images.names.map((name) => new Before(images.store(name)));
  for (const name of images.names) {
    fs.writeFileSync(images.image(name), random.bytes(fs.statSync(images.image(name)).size));
  }
  const two = take('two');
  const whole = await stopWhenWritten(two, Number.POSITIVE_INFINITY, 'SIGKILL');
  t.match(whole, { status: 0 });
  const store = (i: number): string => images.store(images.names[i] as string);
  const counts: number[] = [];
  let landed = 0;
  for (let kill = 0; kill < KILLS; kill += 1) {
    for (const [i, before] of befores.entries()) before.restore(store(i));
    const share = (kill + 0.5 + random.below(400) / 1000) / KILLS;
    const how = await stopWhenWritten(two, share * whole.written, 'SIGKILL');
    let published = 0;
    for (const [i, before] of befores.entries()) {
      // Throws when a store is neither.
      if (await before.isPublished(store(i), ['one'], 'two')) published += 1;
    }
    counts.push(published);
    landed += how.signal === 'SIGKILL' ? 1 : 0;
  }
  t.comment(`stores that were new: ${counts.join(', ')} of ${SIZES.length}`);
  t.ok(landed > 0, 'some runs were killed');
  t.ok(Math.min(...counts) < SIZES.length, 'and in the middle');
  // What a killed run leaves does not stand in the way of the next.
  const left = images.names.length - (counts.at(-1) ?? 0);
  const again = await nvsnap(two);
  t.match(JSON.parse(again.stdout), { taken: left, failed: images.names.length - left });
});
