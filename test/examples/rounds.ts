// A store that is written through reversible stages, put through everything that reads one: what was taken comes back,
// with the stages and only with them, and a store without them can be made of it.

import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import {
  type CodecName,
  check,
  compare,
  convert,
  diff,
  exportSnapshot,
  importSnapshot,
  info,
  Pools,
  restore,
  type StageRequest,
  take,
  verify,
} from '../../snapshot/index.js';
import { patch, randomBytes, sameFile, tempDir, withFd } from '../tools/files.js';
import { Judge } from '../tools/judge.js';
import { qemuImg } from '../tools/qemu.js';
import { CLUSTER, mixedImage } from './images.js';

export interface Rounds {
  readonly folder: string;
  readonly image: string;
  readonly store: string;
  /** Tags, and the image as it was at each. */
  readonly states: ReadonlyMap<string, string>;
  readonly pools: Pools;
}

/** Where `change` writes, and how much. */
const CHANGE = { at: 20 * CLUSTER + 4000, bytes: 5000 };

/** Takes a complete snapshot, one of a few changes, and one of none. */
export const takeRounds = async (
  t: Test,
  stages: readonly StageRequest[],
  compression: CodecName,
): Promise<Rounds> => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  const pools = new Pools();
  t.teardown(() => pools.close());
  fs.writeFileSync(image, mixedImage(5));
  const states = new Map<string, string>();
  const takeAs = (tag: string) => {
    const copy = join(folder, `state-${tag}`);
    fs.copyFileSync(image, copy);
    states.set(tag, copy);
    return take({ image, store, tag, clusterSize: CLUSTER, compression, stages, pools });
  };
  const first = await takeAs('first');
  t.match(first, { parent: null });
  t.ok(first.storedClusters > 200);
  patch(image, randomBytes(CHANGE.bytes, 9), CHANGE.at);
  t.match(await takeAs('second'), { parent: 'first', changedClusters: 3, storedClusters: 3 });
  t.match(await takeAs('third'), { parent: 'second', changedClusters: 0, storedClusters: 0 });
  return { folder, image, store, states, pools };
};

/** All comes back: whole, in place, as a comparison and as a difference. */
const readAll = async (t: Test, rounds: Rounds, stages: readonly StageRequest[]): Promise<void> => {
  const { folder, store, states, pools } = rounds;
  const output = join(folder, 'output');
  for (const [snapshot, state] of states) {
    const back = await restore({ store, snapshot, output, force: true, stages, pools });
    t.equal(back.verified, true);
    t.ok(sameFile(output, state), `${snapshot} comes back`);
  }
  const first = states.get('first') as string;
  const inPlace = { store, snapshot: 'first', output, inPlace: true, stages, pools };
  t.match(await restore(inPlace), { changedBytes: 3 * CLUSTER });
  t.ok(sameFile(output, first), 'a copy is brought up to date');
  const compared = { store, image: first, stages, pools };
  t.match(await compare({ ...compared, snapshot: 'first' }), { equal: true });
  t.match(await compare({ ...compared, snapshot: 'third' }), { differentBytes: 3 * CLUSTER });
  const between = await diff({ store, from: 'first', to: 'second', stages });
  t.match(between, { exact: true, changedBytes: 3 * CLUSTER });
  t.match(await diff({ store, from: 'second', to: 'third', stages }), { changedBytes: 0 });
  t.match(await verify({ store, stages, pools }), { complete: true, damagedClusters: 0 });
};

/** Nothing that reads data does so without the stages; what needs none works. */
const readNothing = async (t: Test, { folder, image, store, pools }: Rounds): Promise<void> => {
  const missing = { code: 'stage-missing' };
  const output = join(folder, 'nothing');
  await t.rejects(restore({ store, snapshot: 'first', output, pools }), missing);
  await t.rejects(verify({ store, pools }), missing);
  await t.rejects(compare({ store, snapshot: 'first', image, pools }), missing);
  await t.rejects(convert({ store, output, pools }), missing);
  await t.rejects(take({ image, store, tag: 'bare', pools }), missing);
  t.notOk(fs.existsSync(output), 'nothing is left of it');
  t.equal((await info({ store })).snapshots.length, 3, 'and no snapshot added');
};

const findings = ({ corruptions, leaks }: { corruptions: number; leaks: number }) => ({
  corruptions,
  leaks,
});

/** A store without stages made of it is one for everybody. */
const leave = async (t: Test, rounds: Rounds, stages: readonly StageRequest[]): Promise<void> => {
  const { folder, store, states, pools } = rounds;
  const output = join(folder, 'standard.qcow2');
  await convert({ store, output, compression: 'zstd', stages, leaveStages: true, pools });
  const judge = new Judge(folder, output);
  for (const [tag, state] of states) judge.remember(state, tag);
  await judge.all(t);
};

/** Streams from one store to another, written through `stages` as well. */
const ship = async (
  t: Test,
  { folder, store, states, pools }: Rounds,
  stages: readonly StageRequest[],
  compression: CodecName,
): Promise<void> => {
  const [stream, target, output] = ['stream', 'target.qcow2', 'arrived'].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  for (const [snapshot, since] of [['first'], ['second', 'first']] as const) {
    await withFd(stream, 'w', (fd) =>
      exportSnapshot({ store, snapshot, since, fd, stages, pools }),
    );
    await withFd(stream, 'r', (fd) =>
      importSnapshot({ store: target, fd, stages, compression, clusterSize: CLUSTER, pools }),
    );
    await restore({ store: target, snapshot, output, force: true, stages, pools });
    t.ok(sameFile(output, states.get(snapshot) as string), `${snapshot} arrives`);
  }
};

/** Reads a store of `takeRounds` in every way. */
export const readRounds = async (
  t: Test,
  rounds: Rounds,
  stages: readonly StageRequest[],
  compression: CodecName,
): Promise<void> => {
  await readAll(t, rounds, stages);
  await readNothing(t, rounds);
  await leave(t, rounds, stages);
  await ship(t, rounds, stages, compression);
  const { store } = rounds;
  const names = (await info({ store })).stages.map(({ name }) => name);
  t.same(findings(await check({ store, stages })), { corruptions: 0, leaks: 0 });
  t.same(findings(await check({ store })), { corruptions: 0, leaks: 0 }, 'check needs no stage');
  const refused = qemuImg(['check', '-f', 'qcow2', store]);
  t.not(refused.status, 0);
  t.match(refused.stderr, names[0], 'QEMU says why it does not open it');
};
