// A real file system that changes between takes. After each take every snapshot so far must be what
// the image was, for stock qemu-img and for our own restore.

import { join } from 'node:path';
import t, { type Test } from 'tap';
import { take } from '../../snapshot/index.js';
import { evolvingImage, isSound, type Method } from '../tools/evolving.js';
import { tempDir } from '../tools/files.js';
import { Judge } from '../tools/judge.js';

const MiB = 2 ** 20;

t.setTimeout(240_000);

interface Plan {
  readonly bytes: number;
  readonly fill: number;
  readonly rounds: number;
  readonly method?: Method;
}

const evolveAndJudge = async (t: Test, plan: Plan): Promise<void> => {
  const folder = tempDir(t);
  const image = evolvingImage(t, folder, plan);
  const store = join(folder, 'store.qcow2');
  const judge = new Judge(folder, store);
  for (let round = 0; round <= plan.rounds; round += 1) {
    if (round > 0) image.evolve();
    t.ok(isSound(image.path), 'the image is a sound file system');
    const tag = `round-${round}`;
    const { bytes } = judge.remember(image.path, tag);
    const done = await take({ image: image.path, store, tag });
    t.match(done, { tag, imageBytes: bytes, parent: round === 0 ? null : `round-${round - 1}` });
    if (round > 0) {
      t.ok(done.storedClusters > 0, 'the round changed the image');
      t.ok(done.storedClusters * 65536 < bytes / 4, 'and only what changed is stored');
    }
    await judge.all(t);
  }
  const different = new Set(judge.states.map(({ sha256 }) => sha256));
  t.equal(different.size, plan.rounds + 1, 'every state was another');
};

t.test('six rounds of a real file system', (t) =>
  evolveAndJudge(t, { bytes: 96 * MiB, fill: 56 * MiB, rounds: 6 }),
);

t.test('the same by debugfs, which needs neither root nor loop devices', (t) =>
  evolveAndJudge(t, { bytes: 24 * MiB, fill: 12 * MiB, rounds: 3, method: 'debugfs' }),
);
