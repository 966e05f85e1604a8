// Trackers' files, and the notes that takes leave beside them: what is something else is refused and left alone.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { bitmapBytes } from '../../disk/index.js';
import { take } from '../../snapshot/index.js';
import { randomBytes, tempDir } from '../tools/files.js';
import { judgeAll, makeTemplate, type Place, type Refusal, takes } from '../tools/refusals.js';

const PAGE = 4096;

const makePipe = (path: string): void => {
  const { status } = spawnSync('mkfifo', [path]);
  if (status !== 0) throw new Error('mkfifo failed');
};

/** A tracker that saw no write. */
const track = ({ folder, image }: Place): string => {
  const path = join(folder, 'tracker');
  const { size } = fs.statSync(image);
  // Fit for a bitmap and, with a hole for all the rest, for the other kind.
  fs.writeFileSync(`${path}.bits`, Buffer.alloc(bitmapBytes(size, PAGE)));
  fs.writeFileSync(`${path}.holes`, '');
  fs.truncateSync(`${path}.holes`, size);
  return path;
};

const KINDS = { bitmap: 'tracker.bits', holes: 'tracker.holes' } as const;

/** A case where `arrange` has put something where the note would be. */
const noted = (
  name: string,
  says: RegExp,
  arrange: (note: string, place: Place) => void,
): Refusal[] =>
  Object.entries(KINDS).map(([kind, file]) =>
    takes(['--dirty', `${kind}:${file}`], {
      name: `${kind}: ${name}`,
      code: 'dirty-unsuitable',
      status: 1,
      says,
      arrange: (place) => {
        track(place);
        arrange(join(place.folder, `${file}.since`), place);
      },
    }),
  );

const NOT_OURS = /is not what a take leaves there; it was left as it is/;

const NOTES: readonly Refusal[] = [
  ...noted('a text of the user', NOT_OURS, (note) => fs.writeFileSync(note, 'since Monday\n')),
  ...noted('a JSON of the user', NOT_OURS, (note) =>
    fs.writeFileSync(note, '{"since":"Monday",\n"until":"Friday"}\n'),
  ),
  ...noted('bytes that are no text', NOT_OURS, (note) =>
    fs.writeFileSync(note, Buffer.alloc(100, 0xff)),
  ),
  ...noted('much that begins as a note', NOT_OURS, (note) =>
    fs.writeFileSync(note, '{"since":"'.padEnd(PAGE + 1, 'x')),
  ),
  ...noted('another store', NOT_OURS, (note, { store }) => fs.copyFileSync(store, note)),
  ...noted('the store', NOT_OURS, (note, { store }) => fs.linkSync(store, note)),
  ...noted('the image', /is the image or the file of its tracker/, (note, { image }) =>
    fs.linkSync(image, note),
  ),
  ...noted('a link', /is a symbolic link/, (note) => fs.symlinkSync('nowhere', note)),
  ...noted('a pipe', /is not a regular file/, makePipe),
  ...noted('a folder', /is a folder/, (note) => fs.mkdirSync(note)),
  {
    ...takes([], { name: 'the store by its name', code: 'dirty-unsuitable', status: 1 }),
    args: ({ image }) => ['take', image, 'tracker.bits.since', '--dirty', 'bitmap:tracker.bits'],
    arrange: (place) => fs.renameSync(place.store, `${track(place)}.bits.since`),
    says: NOT_OURS,
  },
];

t.test('what stands where a note would be is refused and left alone', async (t) => {
  const folder = tempDir(t);
  await judgeAll(t, folder, await makeTemplate(folder), NOTES);
});

t.test('a failed take puts a torn note back byte for byte', async (t) => {
  const folder = tempDir(t);
  const [image, store, file] = ['image', 'store', 'bits'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  fs.writeFileSync(image, randomBytes(8 * PAGE, 1));
  fs.writeFileSync(file, Buffer.of(0));
  const torn = Buffer.concat([Buffer.from('{"since":"'), Buffer.alloc(20, 0xfe)]);
  fs.writeFileSync(`${file}.since`, torn);
  const dirty = `bitmap:${file}`;
  const signal = AbortSignal.abort();
  await t.rejects(take({ image, store, dirty, signal }), { code: 'cancelled' });
  t.same(fs.readFileSync(`${file}.since`), torn);
  await take({ image, store, dirty });
  t.match(fs.readFileSync(`${file}.since`, 'utf8'), /^\{"since":"[^"]+","image":"[^"]+"\}\n$/);
});

t.test('a tracker that is no regular file is not waited for', async (t) => {
  const folder = tempDir(t);
  const pipes = Object.keys(KINDS).map((kind) =>
    takes(['--dirty', `${kind}:pipe`], {
      name: `${kind}: a pipe`,
      code: 'dirty-unsuitable',
      status: 1,
      says: /pipe is not a regular file/,
      arrange: (place) => makePipe(join(place.folder, 'pipe')),
    }),
  );
  await judgeAll(t, folder, await makeTemplate(folder), pipes);
});
