// What has to hold where the kernel does track soft-dirty pages; run inside the guest. One line for each test. An
// argument chooses tests by their names.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { examineSource } from '../../examine/index.js';
import { type TakeResult, take } from '../../snapshot/index.js';
import { DONT_NEED, Mapper } from '../tools/mapper.js';
import { nvsnap } from '../tools/nvsnap.js';
import { marksOf, PAGE, SIZE, shared, World } from './soft-world.js';

const KILLED = fileURLToPath(new URL('./soft-dirty-killed.js', import.meta.url));

/** Only tests whose names match are run. */
const WANTED = new RegExp(process.argv[2] ?? '');

let failed = 0;

const test = async (name: string, body: (t: object) => Promise<unknown>): Promise<void> => {
  if (!WANTED.test(name)) return;
  const began = performance.now();
  console.log(`# ${name}`);
  try {
    await body({});
    console.log(`ok - ${name} # ${Math.round(performance.now() - began)} ms`);
  } catch (error) {
    failed += 1;
    console.log(`not ok - ${name}: ${error instanceof Error ? error.stack : String(error)}`);
  }
};

/** A test in a world that has two snapshots already. */
const inWorld = (
  name: string,
  body: (world: World) => Promise<unknown>,
  mapper?: () => Mapper,
): Promise<void> =>
  test(name, async () => {
    const world = new World(mapper?.() ?? shared);
    try {
      await world.map();
      await world.take();
      await world.store8(1);
      await world.believed();
      await body(world);
    } finally {
      await world.close();
    }
  });

for (const moment of ['before-saving', 'before-clearing', 'after-clearing']) {
  await inWorld(`killed ${moment}, nothing is lost and nobody stays stopped`, async (world) => {
    const { mapper, image, store, state } = world;
    await world.store8(7);
    const words = [KILLED, String(mapper.pid), image, store, state, moment];
    const { signal, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
    assert.equal(signal, 'SIGKILL', stderr);
    await world.store8(9);
    if (moment === 'after-clearing') await world.doubted(/somebody else has cleared/);
    else await world.believed();
    await world.store8(11);
    await world.believed();
  });
}

await test('two images of one process, each with a store of its own', async () => {
  const one = new World(shared);
  const other = new World(shared, one.state);
  try {
    await one.map();
    await other.map();
    await one.take();
    await other.take();
    for (let round = 0; round < 3; round += 1) {
      await one.store8(round);
      await other.store8(round + 10);
      await one.believed();
      await one.store8(round + 20);
      await other.store8(round + 30);
      await one.believed();
      await other.believed();
    }
    // The other one's marks are cleared between its line and its end, too.
    await other.store8(50);
    const lines: string[] = [];
    const racing = one.source;
    const nested = {
      ...other.source,
      begin: async (...words: Parameters<typeof racing.begin>) => {
        const epoch = await other.source.begin(...words);
        await other.store8(51);
        lines.push((await one.takeLive()).dirty.fallback ?? 'believed');
        return epoch;
      },
    };
    other.takes += 1;
    await take({
      image: other.image,
      store: other.store,
      dirty: nested,
      audit: 0,
      clusterSize: PAGE,
    });
    assert.deepEqual(lines, ['believed']);
    await other.believed();
    await one.checkLatest();
  } finally {
    await other.close();
    await one.close();
  }
});

await inWorld(
  'a second store of the same image is told what the dirt counts from',
  async (world) => {
    const second = join(world.folder, 'second');
    const into = async (): Promise<string> => {
      const { image, source } = world;
      const tag = `s${(world.takes += 1)}`;
      return String(
        (await take({ image, store: second, dirty: source, audit: 0, tag })).dirty.fallback,
      );
    };
    await into();
    await world.doubted(/count from snapshot/);
    assert.match(await into(), /count from snapshot/);
  },
);

await inWorld('marks that somebody else cleared are missed', async (world) => {
  await world.store8(3);
  fs.writeFileSync(`/proc/${world.mapper.pid}/clear_refs`, '4');
  await world.doubted(/somebody else has cleared the marks/);
  await world.store8(4);
  await world.believed();
});

await inWorld('a write past the mapping, without a store, is noticed', async (world) => {
  const fd = fs.openSync(world.image, 'r+');
  fs.writeSync(fd, Buffer.from('past'), 0, 4, 33 * PAGE);
  fs.closeSync(fd);
  await world.doubted(/changed past its mapping/);
  await world.believed();
});

await inWorld('whoever else can write is noticed, now and next time', async (world) => {
  const fd = fs.openSync(world.image, 'r+');
  await world.doubted(/has it open for writing/);
  fs.closeSync(fd);
  await world.doubted(/has it open for writing/);
  await world.believed();
  const other = new Mapper();
  await other.map(0, world.image);
  await other.store(0, 77 * PAGE, Buffer.from('other'));
  await world.doubted(/has mapped it for writing too/);
  await other.close();
  await world.doubted(/has mapped it for writing too/);
  await world.believed();
});

await inWorld('entries that the process dropped are named', async (world) => {
  await world.store8(5);
  await world.mapper.tell({ do: 'advise', image: world.number, advice: DONT_NEED });
  await world.store8(6);
  assert(!marksOf(world).includes(5), 'the mark of page 5 is lost');
  assert.equal((await world.take()).dirty.fallback, null);
  await world.store8(5);
  await world.mapper.tell({ do: 'advise', image: world.number, advice: DONT_NEED });
  await world.doubted(/changed past its mapping/);
});

await inWorld('a mapping that was made anew is noticed', async (world) => {
  await world.store8(5);
  await world.mapper.tell({ do: 'unmap', image: world.number });
  await world.mapper.map(0, world.image);
  await world.mapper.map(world.number, world.image);
  await world.doubted(/changed how it maps/);
});

await inWorld(
  'a program begun anew in the same process is noticed',
  async (world) => {
    await world.store8(5);
    await world.mapper.exec();
    await world.map();
    await world.store8(6);
    await world.doubted(/no snapshot yet/);
    await world.store8(8);
    await world.believed();
  },
  () => new Mapper(),
);

await test('another process of the same number is noticed', async () => {
  const world = new World();
  await world.map();
  await world.take();
  await world.store8(1);
  const { pid } = world.mapper;
  await world.mapper.close();
  let again: Mapper | undefined;
  for (let tries = 0; tries < 20 && again?.pid !== pid; tries += 1) {
    await again?.close();
    fs.writeFileSync('/proc/sys/kernel/ns_last_pid', String(pid - 1));
    again = new Mapper();
  }
  assert(again && again.pid === pid, 'no process got the number');
  const later = Object.assign(Object.create(World.prototype) as World, world, { mapper: again });
  try {
    await later.map();
    await later.store8(2);
    await later.doubted(/no snapshot yet/);
    await later.store8(3);
    await later.believed();
  } finally {
    await later.close();
  }
});

/** Waits a while between the reading of marks and their clearing: time enough for a store to be lost in. */
const slowly = async (act: () => Promise<void>): Promise<void> => {
  const { writeSync } = fs;
  fs.writeSync = ((fd: number, data: unknown, ...rest: never[]): number => {
    if (data === '4') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
    return writeSync(fd, data as string, ...rest);
  }) as typeof fs.writeSync;
  try {
    await act();
  } finally {
    fs.writeSync = writeSync;
  }
};

await inWorld('threads that store while a line is drawn lose nothing', (world) =>
  slowly(async () => {
    for (let round = 0; round < 2; round += 1) {
      await world.mapper.tell({ do: 'race', image: world.number, threads: 2 });
      assert.equal((await world.takeLive()).dirty.fallback, null);
      await world.mapper.tell({ do: 'calm' });
      assert.equal((await world.take()).dirty.fallback, null);
    }
  }),
);

await test('when the kernel takes memory back marks are lost, and that is noticed', async () => {
  fs.mkdirSync('/cgroup');
  assert.equal(spawnSync('mount', ['-t', 'cgroup2', 'none', '/cgroup']).status, 0);
  fs.mkdirSync('/cgroup/vm');
  fs.writeFileSync('/cgroup/cgroup.subtree_control', '+memory');
  fs.writeFileSync('/sys/block/zram0/disksize', '256M');
  assert.equal(spawnSync('mkswap', ['/dev/zram0']).status, 0);
  assert.equal(spawnSync('swapon', ['/dev/zram0']).status, 0);
  const world = new World();
  try {
    fs.writeFileSync('/cgroup/vm/cgroup.procs', String(world.mapper.pid));
    // Its memory is charged to who touches it first.
    const content = fs.readFileSync(world.image);
    fs.truncateSync(world.image, 0);
    fs.truncateSync(world.image, SIZE);
    await world.map();
    for (let at = 0; at < SIZE; at += 65536)
      await world.mapper.store(world.number, at, content.subarray(at, at + 65536));
    await world.take();
    await world.store8(5);
    await world.believed();
    await world.store8(6);
    assert(marksOf(world).includes(6), 'page 6 has the mark');
    try {
      fs.writeFileSync('/cgroup/vm/memory.reclaim', '200M');
    } catch {
      // It says that it could not take that much.
    }
    await world.mapper.tell({ do: 'touch', image: world.number });
    const isLost = !marksOf(world).includes(6);
    console.log(`# the mark of page 6 is ${isLost ? 'lost' : 'still there'}`);
    await world.doubted(/short of memory/);
    assert(isLost, 'the mark is lost, and so the doubt is needed');
    await world.store8(8);
    await world.believed();
    // Locked in memory, nothing is taken back.
    await world.mapper.tell({ do: 'lock', image: world.number });
    await world.take();
    await world.store8(9);
    try {
      fs.writeFileSync('/cgroup/vm/memory.reclaim', '200M');
    } catch {
      // As above.
    }
    await world.mapper.tell({ do: 'touch', image: world.number });
    assert(marksOf(world).includes(9), 'the mark of a locked page stays');
    await world.believed();
  } finally {
    await world.close();
  }
});

await inWorld('the command goes on where it was, in another process', async (world) => {
  const { image, store, mapper } = world;
  // Its state is in the folder of the user.
  const words = ['take', image, store, '--dirty', `soft-dirty:${mapper.pid}`, '--json'];
  for (const [round, expected] of [/no snapshot yet|somebody else/, /^null$/, /^null$/].entries()) {
    await world.store8(20 + round);
    const { status, stdout, stderr } = await nvsnap(words);
    assert.equal(status, 0, stderr);
    const { dirty } = JSON.parse(stdout) as TakeResult;
    assert.match(String(dirty.fallback), expected);
    await world.checkLatest();
  }
});

await examineSource(
  { test },
  {
    name: 'soft-dirty',
    unit: PAGE,
    make: async (size) => {
      const world = new World(shared);
      fs.writeFileSync(world.image, Buffer.alloc(size, 'nvdimm '));
      await world.map();
      const { image, source } = world;
      const stores: Promise<void>[] = [];
      return {
        image,
        source,
        write: (offset, bytes) => {
          stores.push(world.mapper.store(world.number, offset, bytes));
        },
        beforeLine: async () => {
          await Promise.all(stores.splice(0));
        },
        reopen: () => world.source,
        close: () => world.close(),
      };
    },
  },
);

await shared.close();
console.log(`${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
