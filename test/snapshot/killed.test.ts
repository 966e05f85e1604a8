// Real processes, ended in the middle of a take: by a person, by the system, by force.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { KiB, MiB } from '../../disk/index.js';
import { diskDir } from '../tools/files.js';
import { Before, killTakes, uninterrupted, Victim } from '../tools/kills.js';
import { startNvsnap } from '../tools/nvsnap.js';
import { checkClean } from '../tools/qemu.js';

t.setTimeout(180_000);

const SEED = 20261123;
/** Most of it incompressible: a take that writes for a while. */
const IMAGE_BYTES = 32 * MiB;
/** Four clusters of the default size. */
const EMPTY_STORE_BYTES = 4 * 64 * KiB;
/** For takes that are to be stopped at a certain point, a slower codec gives more time to do so. */
const SLOWLY = ['--level', '13'];

t.test('kill -9 at any moment of a first take leaves an empty store or none', async (t) => {
  const victim = new Victim(diskDir(t), IMAGE_BYTES, SEED);
  const { written, storeBytes } = await uninterrupted(victim);
  const toll = await killTakes(victim, { kills: 6, written, seed: SEED, oldTags: [] });
  t.comment(`${JSON.stringify(toll)}, of ${written} bytes that a take writes`);
  t.equal(toll.landed, 6);
  t.same(toll.litter, []);
  t.ok(toll.longest <= storeBytes, 'what a killed take leaves is used again');
  await victim.take('whole');
  checkClean(victim.store);
  t.same(await victim.tags(), ['whole']);
  t.ok(
    fs.statSync(victim.store).size <= storeBytes,
    'the next take needs no more than a first one',
  );
  await victim.checkRestored('whole');
});

t.test('kill -9 at any moment of a later take leaves every snapshot as it was', async (t) => {
  const victim = new Victim(diskDir(t), IMAGE_BYTES, SEED);
  await victim.take('one');
  await victim.checkRestored('one');
  victim.change(0.6);
  const { written, storeBytes } = await uninterrupted(victim);
  const options = { kills: 8, written, seed: SEED, oldTags: ['one'] };
  const toll = await killTakes(victim, options);
  t.comment(`${JSON.stringify(toll)}, of ${written} bytes that a take writes`);
  t.equal(toll.landed, 8);
  t.same(toll.litter, []);
  t.ok(toll.longest <= storeBytes, 'what a killed take leaves is used again');
  await victim.take('two');
  checkClean(victim.store);
  t.same(await victim.tags(), ['one', 'two']);
  t.ok(
    fs.statSync(victim.store).size <= storeBytes,
    'the next take needs no more than without kills',
  );
  await victim.checkRestored('two');
});

t.test('kill -9 in the moment a store is made leaves a whole, empty one or nothing', async (t) => {
  for (let i = 0; i < 5; i += 1) {
    const victim = new Victim(diskDir(t), MiB, SEED);
    // As much as an empty store has: what comes next is its sync, and then its name.
    const how = await victim.stopWhenWritten('cut', EMPTY_STORE_BYTES, 'SIGKILL');
    t.equal(how.signal, 'SIGKILL');
    t.same(victim.litter(), []);
    if (!fs.existsSync(victim.store)) continue;
    checkClean(victim.store);
    t.same(await victim.tags(), []);
  }
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  t.test(`${signal} in a first take leaves nothing, and says so`, async (t) => {
    const victim = new Victim(diskDir(t), IMAGE_BYTES, SEED);
    const how = await victim.stopWhenWritten('cut', 8 * MiB, signal, SLOWLY);
    t.match(how, { status: 1, signal: null, stdout: '' });
    t.equal(how.stderr, `nvsnap: Stopped by ${signal}.\nThe store is as it was before.\n`);
    t.notOk(fs.existsSync(victim.store));
    t.same(victim.litter(), []);
  });

  t.test(`${signal} in a later take leaves the store as it was, and unlocked`, async (t) => {
    const victim = new Victim(diskDir(t), IMAGE_BYTES, SEED);
    await victim.take('one');
    victim.change(0.6);
    const before = new Before(victim.store);
    for (const bytes of signal === 'SIGINT' ? [MiB, 4 * MiB, 12 * MiB] : [4 * MiB]) {
      const how = await victim.stopWhenWritten('cut', bytes, signal, SLOWLY);
      t.match(how, { status: 1, signal: null, stdout: '' });
      t.equal(how.stderr, `nvsnap: Stopped by ${signal}.\nThe store is as it was before.\n`);
      t.notOk(await before.isPublished(victim.store, ['one'], 'cut'));
      t.equal(fs.statSync(victim.store).size, before.size, 'it is no longer than before');
      t.same(victim.litter(), []);
    }
    await victim.take('two');
    checkClean(victim.store);
    await victim.checkRestored('two');
  });
}

t.test('a take that waits for its input stops too', async (t) => {
  const victim = new Victim(diskDir(t), MiB, SEED);
  const { child, ended } = startNvsnap(['take', '-', victim.store, '--size', '64M'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin?.on('error', () => {});
  child.stdin?.write(Buffer.alloc(5 * MiB, 1));
  while (!fs.existsSync(victim.store)) await new Promise((next) => setTimeout(next, 5));
  child.kill('SIGTERM');
  const how = await ended;
  t.match(how, { status: 1, signal: null });
  t.match(how.stderr, /^nvsnap: Stopped by SIGTERM\.\n[^\n]+\n$/);
  t.notOk(fs.existsSync(victim.store));
  t.same(victim.litter(), []);
});

t.test('a restore that is stopped leaves no output', async (t) => {
  const victim = new Victim(diskDir(t), 256 * MiB, SEED, ['--compression', 'none']);
  await victim.take('one');
  const output = join(victim.folder, 'output');
  const { child, ended } = startNvsnap(['restore', victim.store, 'one', output]);
  while (victim.litter().length === 0) await new Promise((next) => setTimeout(next, 1));
  child.kill('SIGINT');
  const how = await ended;
  t.match(how, { status: 1, signal: null, stdout: '' });
  t.match(how.stderr, /^nvsnap: Stopped by SIGINT\.\n[^\n]+\n$/);
  t.same(victim.litter(), []);
});
