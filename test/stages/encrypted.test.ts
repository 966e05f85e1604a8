// An encrypted store: whatever byte of it turns over is noticed, and without the right key nothing is to be had.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  check,
  Fault,
  list,
  restore,
  type StageRequest,
  take,
  verify,
} from '../../snapshot/index.js';
import { tempDir } from '../tools/files.js';
import { nvsnap } from '../tools/nvsnap.js';
import { qemuImg } from '../tools/qemu.js';
import { assertRot, Rot } from '../tools/rot.js';
import { chartOf } from '../tools/rot-chart.js';
import { encrypted, makeSample } from '../tools/rot-sample.js';

t.setTimeout(180_000);

/** One of so many of the bytes that are turned over in a store of the usual codecs. */
const SPARSELY = 24;

t.test('a byte that turned over in an encrypted store', async (t) => {
  const folder = tempDir(t);
  const rot = new Rot(t, await makeSample(folder, 'none', [encrypted(folder)]));
  await rot.some(2, SPARSELY);
  assertRot(t, 'aes-gcm', rot, ['data']);
});

t.test('without the right key nothing is to be had', async (t) => {
  const folder = tempDir(t);
  const key = encrypted(folder);
  const { store, images } = await makeSample(folder, 'none', [key]);
  const output = join(folder, 'out');
  const wrong = encrypted(folder, 2);
  const snapshot = 'first';
  const calls: [string, (stages: StageRequest[]) => Promise<unknown>][] = [
    ['restore', (stages) => restore({ store, snapshot, output, stages })],
    ['verify', (stages) => verify({ store, stages })],
    ['take', (stages) => take({ image: join(folder, 'key-1'), store, stages })],
  ];
  for (const [name, call] of calls) {
    await t.rejects(call([]), { code: 'stage-missing', exitCode: 1, message: /aes-gcm/ }, name);
    const refused = {
      code: 'usage',
      exitCode: 2,
      message: /not the key that the store was written/,
    };
    await t.rejects(call([wrong]), refused, `${name}, wrong key`);
  }
  t.notOk(fs.existsSync(output), 'nothing is written');

  t.same(
    (await list({ store })).map(({ tag }) => tag),
    ['first', 'second'],
    'what there is can be listed',
  );
  const raw = fs.readFileSync(store);
  const image = images.get('first') as Buffer;
  for (let at = 0; at + 64 <= image.length; at += 4096) {
    const piece = image.subarray(at + 32, at + 48);
    const isZero = piece.every((byte) => byte === 0);
    if (!isZero && raw.includes(piece)) t.fail(`the bytes at image offset ${at} are in the store`);
  }
  const qemu = qemuImg(['check', '-f', 'qcow2', store]);
  t.match(qemu.stderr, /Unsupported qcow2 feature.*aes-gcm/, 'QEMU says why it cannot read it');

  const line = await nvsnap([
    'restore',
    store,
    snapshot,
    output,
    '--stage',
    `${wrong.module},key=${wrong.options.key}`,
  ]);
  t.equal(line.status, 2);
  t.match(
    line.stderr,
    /aes-gcm cannot be used: this is not the key that the store was written with/,
  );
});

t.test('what is moved from one store to another with the same key is noticed', async (t) => {
  const [here, there] = [tempDir(t), tempDir(t)];
  const stages = [encrypted(here)];
  const [one, other] = [
    await makeSample(here, 'none', stages),
    await makeSample(there, 'none', stages),
  ];
  const charts = [chartOf(one.store), chartOf(other.store)];
  const [payload, foreign] = charts.map(({ payloads }) => payloads[3]);
  if (!payload || !foreign) throw new Error('there are no payloads');
  t.equal(
    payload.end - payload.start,
    foreign.end - foreign.start,
    'of the same content and length',
  );
  const raw = fs.readFileSync(one.store);
  fs.readFileSync(other.store).copy(raw, payload.start, foreign.start, foreign.end);
  fs.writeFileSync(one.store, raw);
  const output = join(here, 'out');
  const error = await restore({ store: one.store, snapshot: 'first', output, stages }).catch(
    (thrown: unknown) => thrown,
  );
  t.ok(error instanceof Fault && error.code === 'payload-damaged', 'it is refused');
  t.match(String(error), /aes-gcm data for image offset \d+/);
  const { damagedClusters } = await verify({ store: one.store, stages });
  t.ok(damagedClusters > 0, 'a verification counts it');
  t.equal((await check({ store: one.store, stages })).corruptions, 0, 'its tables are sound');
});

t.test('a stage that the store was not written through is refused', async (t) => {
  const folder = tempDir(t);
  const { store } = await makeSample(folder, 'none');
  const stages = [encrypted(folder)];
  const output = join(folder, 'out');
  await t.rejects(restore({ store, snapshot: 'first', output, stages }), { code: 'stage-foreign' });
  await t.rejects(take({ image: join(folder, 'key-1'), store, stages }), { code: 'stage-foreign' });
});
