// A real file system that changes between takes. After each take every snapshot so far must be what the image was, for
// stock qemu-img and for our own restore.

import { join } from 'node:path';
import type { Test } from 'tap';
import { take } from '../../snapshot/index.js';
import { evolvingImage, isSound, type Method } from './evolving.js';
import { sha256File, tempDir } from './files.js';
import { Judge } from './judge.js';

export interface Evolution {
  /** Size of the image in bytes, and bytes of real files to fill it with. */
  readonly bytes: number;
  readonly fill: number;
  readonly rounds: number;
  readonly method?: Method;
}

/** Takes, changes and takes again, and judges all snapshots after each take. */
export const evolveAndJudge = async (t: Test, evolution: Evolution): Promise<void> => {
  const folder = tempDir(t);
  const image = evolvingImage(t, folder, evolution);
  const store = join(folder, 'store.qcow2');
  const judge = new Judge(folder, store);
  for (let round = 0; round <= evolution.rounds; round += 1) {
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
  const different = new Set(judge.states.map(({ copy }) => sha256File(copy)));
  t.equal(different.size, evolution.rounds + 1, 'every state was another');
};
