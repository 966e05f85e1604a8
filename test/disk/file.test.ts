// The file door: what is written is read back, and its log is enough to make the file again.

import fs from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import t from 'tap';
import { attachFile, type LogEntry, openFile, readLog } from '../../disk/file.js';
import { native } from '../../disk/native.js';
import { MiB } from '../../disk/units.js';
import { diskDir } from '../tools/files.js';
import { answerCalls } from './native-calls.js';

/** Does to a buffer what a log says was done to the file. */
const replay = (entries: Iterable<LogEntry>): Buffer => {
  let image = Buffer.alloc(0);
  const resize = (length: number): void => {
    image = Buffer.concat([
      image.subarray(0, length),
      Buffer.alloc(Math.max(0, length - image.length)),
    ]);
  };
  for (const entry of entries) {
    if (entry.kind === 'truncate') resize(entry.length);
    if (entry.kind === 'write') {
      resize(Math.max(image.length, entry.position + entry.data.length));
      image.set(entry.data, entry.position);
    }
  }
  return image;
};

const changes = fc.array(
  fc.oneof(
    fc.record({ at: fc.nat(5000), data: fc.uint8Array({ minLength: 1, maxLength: 700 }) }),
    fc.record({ truncate: fc.nat(6000) }),
    fc.constant('sync' as const),
  ),
  { maxLength: 12 },
);

t.test('a log replays to the file, kind for kind', async (t) => {
  const folder = diskDir(t);
  let run = 0;
  await fc.assert(
    fc.asyncProperty(changes, async (list) => {
      run += 1;
      const [path, log] = [join(folder, `file-${run}`), join(folder, `log-${run}`)];
      const file = openFile(path, 'wx+', log);
      for (const change of list) {
        if (change === 'sync') await file.sync();
        else if ('truncate' in change) file.truncate(change.truncate);
        else file.write(change.data, change.at);
      }
      const size = file.size();
      file.close();
      const entries = [...readLog(fs.readFileSync(log))];
      const kinds = list.map((change) =>
        change === 'sync' ? 'sync' : 'truncate' in change ? 'truncate' : 'write',
      );
      const content = fs.readFileSync(path);
      return (
        size === content.length &&
        isDeepStrictEqual(
          entries.map(({ kind }) => kind),
          kinds,
        ) &&
        replay(entries).equals(content)
      );
    }),
    { numRuns: 60 },
  );
  t.pass('for every list of changes');
});

t.test('positions and lengths beyond 32 bits survive the log', async (t) => {
  const folder = diskDir(t);
  const log = join(folder, 'log');
  const file = openFile(join(folder, 'file'), 'wx+', log);
  file.truncate(2 ** 41);
  file.write(Buffer.from('end'), 2 ** 41 - 3);
  file.close();
  const [truncate, write] = [...readLog(fs.readFileSync(log))];
  t.same(truncate, { kind: 'truncate', length: 2 ** 41 });
  t.same(write, { kind: 'write', position: 2 ** 41 - 3, data: Buffer.from('end') });
});

t.test('writes of other threads are in the log, whole', async (t) => {
  const folder = diskDir(t);
  const log = join(folder, 'log');
  const file = openFile(join(folder, 'file'), 'wx+', log);
  const code = `
    const { workerData } = require('node:worker_threads');
    import(workerData.module).then(({ attachFile }) => {
      const file = attachFile(workerData.spec);
      for (let i = 0; i < 50; i += 1) {
        file.write(Buffer.alloc(300 + i, workerData.mark), (i * 2 + workerData.mark) * 1000);
      }
    });`;
  const module = new URL('../../disk/file.js', import.meta.url).href;
  const ended = [0, 1].map(
    (mark) =>
      new Promise((resolve) => {
        const worker = new Worker(code, {
          eval: true,
          workerData: { module, mark, spec: file.spec },
        });
        worker.on('exit', resolve);
      }),
  );
  t.same(await Promise.all(ended), [0, 0]);
  await file.sync();
  file.close();
  const entries = [...readLog(fs.readFileSync(log))];
  t.equal(entries.length, 101);
  t.equal(entries.at(-1)?.kind, 'sync');
  t.ok(replay(entries).equals(fs.readFileSync(file.path)));
});

t.test(
  'a read is short only at the end, and a file can be used through its description',
  async (t) => {
    const path = join(diskDir(t), 'file');
    const file = openFile(path, 'wx+');
    file.write(Buffer.from('0123456789'), 0);
    const again = attachFile(file.spec);
    const into = Buffer.alloc(8, 0x2e);
    t.equal(again.read(into, 6), 4);
    t.equal(into.toString(), '6789....');
    t.equal(again.read(into, 100), 0);
    t.equal(again.read(into, 1), 8);
    t.equal(into.toString(), '12345678');
    file.close();
  },
);

t.test('what the system refuses becomes a fault with its path', async (t) => {
  const path = join(diskDir(t), 'file');
  t.throws(() => openFile(path, 'r'), { code: 'ENOENT' }, 'the caller knows what it is');
  fs.writeFileSync(path, 'x');
  const file = openFile(path, 'r');
  t.throws(() => file.write(Buffer.from('y'), 0), { code: 'io-failed', details: { path } });
  t.throws(() => file.truncate(0), { code: 'io-failed', details: { path } });
  file.close();
  await t.rejects(file.sync(), { code: 'io-failed', details: { path } });
});

t.test('a long output is on its way to the disk before it is complete', (t) => {
  const file = openFile(join(diskDir(t), 'file'), 'wx+');
  const begun: unknown[][] = [];
  answerCalls(t, native.SYS_sync_file_range, (_number, _fd, ...range) => {
    begun.push(range.slice(0, 2));
    return undefined;
  });
  // Ends in the middle of a page, as payloads do.
  const piece = Buffer.alloc(MiB + 100, 1);
  for (let i = 0; i < 10; i += 1) file.write(piece, i * piece.length);
  const first = 4 * piece.length - 400;
  t.same(begun, [
    [0, first],
    [4 * piece.length, 8 * piece.length - 800 - 4 * piece.length],
  ]);
  file.close();
  t.end();
});
