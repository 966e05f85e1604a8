// What is not the machine of a point, or no longer the point, is refused by name, and QEMU is given nothing.

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FIRST_BYTES, type Memory, SECOND_BYTES } from '../../bench/index.js';
import { type FaultCode, remove } from '../../snapshot/index.js';
import { listPoints, restorePoint, resumePoint, takePoint } from '../../vm/index.js';
import { patch, tempDir } from '../tools/files.js';
import { memoryIn, type TinyOptions, tinyMachine } from './machine.js';

t.setTimeout(120_000);

/** Both NVDIMMs of one size, so that they can be swapped. */
const alike = (words: string[]): string[] =>
  words.map((word) => word.replace(`size=${SECOND_BYTES}`, `size=${FIRST_BYTES}`));

interface World {
  readonly folder: string;
  readonly stores: string;
  /** The files of the point, restored. */
  readonly memory: Memory;
}

/** One point, and its files. */
const world = async (t: Test): Promise<World> => {
  const folder = tempDir(t);
  const memory = memoryIn(folder);
  fs.writeFileSync(memory.second, '');
  fs.truncateSync(memory.second, FIRST_BYTES);
  // Where the guest does not store: otherwise both NVDIMMs could hold the same.
  patch(memory.second, Buffer.from('the second'), FIRST_BYTES / 2);
  const machine = await tinyMachine(t, folder, { change: alike });
  const stores = join(folder, 'points');
  await takePoint({ qmp: machine.socket, stores, tag: 'point', freeze: 'pause' });
  await machine.kill();
  const to = join(folder, 'again');
  await restorePoint({ stores, tag: 'point', to });
  return { folder, stores, memory: memoryIn(to) };
};

interface Misfit {
  readonly name: string;
  readonly says: RegExp;
  /** Changes QEMU's words. */
  readonly change?: (words: string[], world: World) => string[];
  /** Changes the files; what it returns puts them back. */
  readonly arrange?: (world: World) => () => void;
}

/** One byte of a file is another. */
const damaged = (path: string): (() => void) => {
  const byte = Buffer.alloc(1);
  const fd = fs.openSync(path, 'r');
  fs.readSync(fd, byte, 0, 1, 4096);
  fs.closeSync(fd);
  patch(path, Buffer.from([(byte[0] as number) ^ 0xff]), 4096);
  return () => patch(path, byte, 4096);
};

const swapFiles = ({ memory }: World): (() => void) => {
  const swap = (): void => {
    fs.renameSync(memory.first, `${memory.first}.x`);
    fs.renameSync(memory.second, memory.first);
    fs.renameSync(`${memory.first}.x`, memory.second);
  };
  swap();
  return swap;
};

const MISFITS: readonly Misfit[] = [
  {
    name: 'wrong NVDIMM',
    arrange: ({ memory }) => damaged(memory.first),
    says: /first\.img of first has not the content of the point \(64\.0 KiB differ\)/,
  },
  {
    name: 'wrong RAM',
    arrange: ({ memory }) => damaged(memory.ram),
    says: /ram\.img of ram has not the content of the point/,
  },
  { name: 'swapped', arrange: swapFiles, says: /first\.img of first has the content of second/ },
  {
    name: 'other size',
    change: (words) =>
      words.map((word) => word.replace(/(id=second,.*)size=\d+/, `$1size=${SECOND_BYTES}`)),
    says: /the size of second is 8388608 bytes, not 33554432 bytes/,
  },
  {
    name: 'other RAM size',
    change: (words) =>
      words.map((word) => word.replace('16M,', '8M,').replace(/(id=ram,.*)size=\d+/, '$1size=8M')),
    says: /8\.00 MiB of RAM, not 16\.0 MiB/,
  },
  {
    name: 'other type',
    change: (words) => words.map((word) => word.replace('pc,', 'pc-i440fx-6.2,')),
    says: /machine type is pc-i440fx-6\.2, not/,
  },
  {
    name: 'one missing',
    change: (words) =>
      words
        .filter(
          (word, i) =>
            !/second/.test(`${word}${words[i + 1] ?? ''}`) || !/^-(object|device)$/.test(word),
        )
        .filter((word) => !/=second|id=nv-second/.test(word)),
    says: /it has no memory backend second/,
  },
  {
    name: 'one too many',
    change: (words, { folder }) => {
      const path = join(folder, 'third.img');
      fs.writeFileSync(path, Buffer.alloc(2 ** 20));
      return [
        ...words,
        '-object',
        `memory-backend-file,id=third,mem-path=${path},size=1M,share=on`,
      ];
    },
    says: /the memory third is not part of the point/,
  },
  {
    name: 'places exchanged',
    change: (words) =>
      words.map((word) =>
        word.replace(
          /memdev=(first|second)/,
          (_, id) => `memdev=${id === 'first' ? 'second' : 'first'}`,
        ),
      ),
    says: /the device of first is nv-second, not nv-first/,
  },
  {
    name: 'private',
    change: (words) => words.map((word) => word.replace(/(id=first,.*)share=on/, '$1share=off')),
    says: /NVDIMM first is mapped privately/,
  },
  {
    name: 'not waiting',
    change: (words) =>
      words.filter((word) => word !== '-incoming' && word !== 'defer').concat('-S'),
    says: /state "prelaunch" and waits for no state/,
  },
];

t.test('what is not the machine of the point', async (t) => {
  const place = await world(t);
  const { folder, stores, memory } = place;
  for (const { name, says, change, arrange } of MISFITS) {
    const back = arrange?.(place);
    const options: TinyOptions = {
      name: name.replaceAll(' ', '-'),
      memory,
      incoming: true,
      change: (words) => (change ? change(alike(words), place) : alike(words)),
    };
    const machine = await tinyMachine(t, folder, options);
    await t.rejects(
      resumePoint({ qmp: machine.socket, stores, tag: 'point' }),
      { code: 'vm-differs', message: says },
      name,
    );
    t.match(await machine.ask((qmp) => qmp.execute('query-status')), { running: false });
    await machine.kill();
    back?.();
  }
  const machine = await tinyMachine(t, folder, { memory, incoming: true, change: alike });
  t.match(
    await resumePoint({ qmp: machine.socket, stores, tag: 'point' }),
    { status: 'running' },
    'and what is',
  );
  await machine.counts();
});

/** Changes a manifest, and makes its checksum right again unless told otherwise. */
const edit = (
  path: string,
  change: (manifest: Record<string, unknown>) => void,
  seal = true,
): void => {
  const { checksum, ...rest } = JSON.parse(fs.readFileSync(path, 'utf8')) as Record<
    string,
    unknown
  >;
  change(rest);
  const sum = createHash('sha256').update(JSON.stringify(rest)).digest('hex');
  fs.writeFileSync(path, JSON.stringify({ ...rest, checksum: seal ? sum : checksum }));
};

t.test('what is no longer the point', async (t) => {
  const { folder, stores, memory } = await world(t);
  const path = join(stores, 'points', 'point.json');
  const whole = fs.readFileSync(path);
  const machine = await tinyMachine(t, folder, { memory, incoming: true, change: alike });
  const refused = async (name: string, code: FaultCode, message: RegExp): Promise<void> => {
    await t.rejects(
      resumePoint({ qmp: machine.socket, stores, tag: 'point' }),
      { code, message },
      name,
    );
    fs.writeFileSync(path, whole);
  };
  edit(path, (manifest) => ((manifest.machine as { qemu: string }).qemu = '7.2.21'));
  await refused('version', 'vm-differs', /it is QEMU .*, and the point was taken of QEMU 7\.2\.21/);
  edit(path, (manifest) => (manifest.pauseMs = 1), false);
  await refused('changed', 'point-damaged', /does not match its checksum/);
  edit(path, (manifest) => (manifest.tag = 'other'));
  await refused('renamed', 'point-damaged', /is that of "other"/);
  edit(
    path,
    (manifest) => (((manifest.regions as { id: string }[])[0] as { id: string }).id = '../x'),
  );
  await refused('hostile', 'point-damaged', /of another form \(regions\.0\.id\)/);
  edit(path, (manifest) => ((manifest.regions as { root: string }[])[0]!.root = '0'.repeat(32)));
  await refused(
    'another',
    'point-damaged',
    /the snapshot of first in memory\/first\.qcow2 is not the one that was taken/,
  );
  fs.writeFileSync(path, whole.subarray(0, 100));
  await refused('cut', 'point-damaged', /no JSON/);
  await remove({ store: join(stores, 'state.qcow2'), snapshots: ['point'] });
  await refused('no state', 'point-damaged', /the device state is missing in state\.qcow2/);
  await remove({ store: join(stores, 'memory', 'ram.qcow2'), snapshots: ['point'] });
  fs.rmSync(join(stores, 'memory', 'second.qcow2'));
  t.match(await listPoints({ stores }), [
    { tag: 'point', manifest: null, problem: /ram is missing/ },
  ]);
  t.match(await machine.ask((qmp) => qmp.execute('query-status')), { status: 'inmigrate' });
});
