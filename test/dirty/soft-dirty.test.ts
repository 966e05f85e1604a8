// The source soft-dirty, as far as any kernel lets it be tried: what it reads, whom it finds, what it refuses. The rest is
// in test/slow/soft-dirty.test.ts, on a kernel that tracks.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openSource, type TrackedImage } from '../../dirty/index.js';
import { canaryPages, setCanary } from '../../dirty/soft/canary.js';
import { identify, mapsOf, stateOf } from '../../dirty/soft/process.js';
import { kernelTracks } from '../../dirty/soft/self-test.js';
import { Unstoppable, whileStopped } from '../../dirty/soft/stop.js';
import { softDirtySource } from '../../dirty/soft-dirty.js';
import { fileIdentity, MiB, PAGE_BYTES } from '../../disk/index.js';
import { examineSource } from '../../examine/index.js';
import { restore, take } from '../../snapshot/index.js';
import { randomBytes, sameFile, tempDir } from '../tools/files.js';
import { Mapper } from '../tools/mapper.js';
import { start } from '../tools/nvsnap.js';

const STOP_KILLED = new URL('./stop-killed.js', import.meta.url).pathname;

/** A folder on tmpfs, where marks are believed. */
const memoryDir = (t: Test): string => {
  const folder = fs.mkdtempSync('/dev/shm/nvsnap-test-');
  t.teardown(() => fs.rmSync(folder, { recursive: true }));
  return folder;
};

/** A process that has an image of 1 MiB mapped. */
const mapped = async (t: Test, folder = tempDir(t)) => {
  const image = join(folder, 'image');
  fs.writeFileSync(image, randomBytes(MiB, 5));
  const mapper = new Mapper();
  t.teardown(() => mapper.close());
  await mapper.map(0, image);
  return { folder, image, mapper };
};

const trackedImage = (t: Test, path: string): TrackedImage => {
  const fd = fs.openSync(path, 'r');
  t.teardown(() => fs.closeSync(fd));
  const { size } = fs.fstatSync(fd);
  return { path, realPath: path, fd, size, identity: fileIdentity(fd) };
};

/** Threads of a process by the letters of their states. */
const states = (pid: number): string[] =>
  fs.readdirSync(`/proc/${pid}/task`).map((thread) => stateOf(pid, Number(thread)) ?? 'gone');

t.test('a kernel that does not track is found out, and everything is read', async (t) => {
  const { folder, image, mapper } = await mapped(t);
  const state = join(folder, 'state');
  const probe = tempDir(t);
  if (kernelTracks(probe)) {
    const make = async (size: number) => {
      const world = await mapped(t, memoryDir(t));
      fs.writeFileSync(world.image, Buffer.alloc(size, 'nvdimm '));
      await world.mapper.map(0, world.image);
      const source = () =>
        softDirtySource({
          pid: world.mapper.pid,
          folder: join(world.folder, 'state'),
          alone: true,
        });
      return {
        image: world.image,
        source: source(),
        write: (offset: number, bytes: Uint8Array) => world.mapper.store(0, offset, bytes),
        reopen: source,
      };
    };
    await examineSource(t, { name: 'soft-dirty', unit: PAGE_BYTES, make });
    return;
  }
  const dirty = softDirtySource({ pid: mapper.pid, folder: state });
  const store = join(folder, 'store');
  for (const tag of ['one', 'two']) {
    await mapper.store(0, 77_000, Buffer.from(tag));
    const result = await take({ image, store, dirty, tag });
    const expected = tag === 'one' ? null : 'this kernel does not track soft-dirty pages';
    t.equal(result.dirty.fallback, expected);
    const output = join(folder, tag);
    await restore({ store, snapshot: tag, output });
    t.ok(sameFile(output, image));
  }
});

t.test('bad words and processes that are not there', async (t) => {
  const { folder, image } = await mapped(t);
  for (const argument of ['0', '-1', '12x', '99999999999']) {
    t.throws(() => openSource(`soft-dirty:${argument}`), { code: 'dirty-unsuitable' });
  }
  t.throws(() => openSource('soft-dirty:1,alone=maybe'), { code: 'dirty-unsuitable' });
  t.throws(() => openSource('soft-dirty'), { code: 'usage' });
  const gone = softDirtySource({ pid: 2 ** 22 + 1, folder });
  await t.rejects(gone.begin(trackedImage(t, image), undefined), {
    code: 'dirty-unsuitable',
    message: /there is no process 4194305/,
  });
});

t.test('who may not look at a process is told so', async (t) => {
  if (process.geteuid?.() !== 0) {
    t.pass('only root can become somebody else');
    return;
  }
  const { folder, image, mapper } = await mapped(t);
  const state = join(folder, 'state');
  fs.chmodSync(folder, 0o755);
  fs.mkdirSync(state);
  fs.chownSync(state, 65534, 65534);
  const tracked = trackedImage(t, image);
  process.seteuid?.(65534);
  try {
    const source = softDirtySource({ pid: mapper.pid, folder: state });
    await t.rejects(source.begin(tracked, undefined), { code: 'dirty-forbidden' });
  } finally {
    process.seteuid?.(0);
  }
});

t.test('a process stands still with all its threads, and goes on', async (t) => {
  const { mapper } = await mapped(t);
  await mapper.tell({ do: 'race', image: 0, threads: 3 });
  for (let i = 0; i < 20; i += 1) {
    whileStopped(mapper.pid, () => {
      t.same(new Set(states(mapper.pid)), new Set(['t']));
      t.throws(() => whileStopped(mapper.pid, () => {}), Unstoppable);
    });
    t.notOk(states(mapper.pid).includes('t'));
  }
  await mapper.tell({ do: 'calm' });
});

t.test('a process that was stopped before stays so', async (t) => {
  const { mapper } = await mapped(t);
  process.kill(mapper.pid, 'SIGSTOP');
  while (states(mapper.pid).some((state) => state !== 'T'));
  whileStopped(mapper.pid, () => t.same(new Set(states(mapper.pid)), new Set(['t'])));
  while (states(mapper.pid).some((state) => state !== 'T'));
  process.kill(mapper.pid, 'SIGCONT');
  await mapper.store(0, 0, Buffer.from('goes on'));
});

t.test('who dies while a process stands still lets it go', async (t) => {
  const { mapper } = await mapped(t);
  const { ended } = start(process.execPath, [STOP_KILLED, String(mapper.pid)]);
  const { signal, stdout } = await ended;
  t.equal(signal, 'SIGKILL');
  t.equal(stdout, 'stopped\n');
  await mapper.store(0, 0, Buffer.from('goes on'));
});

t.test('another program in the same process is another', async (t) => {
  const child = spawn('sh', ['-c', 'echo ready; read word; exec sleep 60'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill());
  await once(child.stdout, 'data');
  const pid = child.pid as number;
  const before = identify(pid);
  t.same(identify(pid), before);
  child.stdin.write('go\n');
  while (fs.readFileSync(`/proc/${pid}/comm`, 'utf8') !== 'sleep\n');
  const after = identify(pid);
  t.equal(after.started, before.started);
  t.not(after.memory, before.memory);
});

t.test('the canary changes nothing', async (t) => {
  const { mapper } = await mapped(t);
  const pages = canaryPages(mapsOf(mapper.pid));
  t.ok(pages);
  if (!pages) return;
  const read = (): Buffer => {
    const fd = fs.openSync(`/proc/${mapper.pid}/mem`, 'r');
    const bytes = Buffer.alloc(pages.count * PAGE_BYTES);
    fs.readSync(fd, bytes, 0, bytes.length, pages.start);
    fs.closeSync(fd);
    return bytes;
  };
  const before = read();
  for (let i = 0; i < 10; i += 1) {
    const page = setCanary(mapper.pid, pages);
    t.ok(page !== null && page >= 0 && page < pages.count);
  }
  t.ok(read().equals(before));
  await mapper.store(0, 0, Buffer.from('goes on'));
});
