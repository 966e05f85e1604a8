// Holds everything that reads a foreign file against what qemu-img says of it.

import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { check, compare, diff, info, restore, verify } from '../../snapshot/index.js';
import { copyState, patch, Random, sameFile } from './files.js';
import { type Foreign, qemu } from './foreign.js';
import { convertSnapshot, check as qemuCheck } from './qemu.js';

/** What `qemu-img info --output=json` says of a snapshot. */
interface Listed {
  readonly id: string;
  readonly name: string;
  readonly 'date-sec': number;
  readonly 'date-nsec': number;
}

interface Described {
  readonly 'virtual-size': number;
  readonly 'cluster-size': number;
  readonly snapshots: readonly Listed[];
}

const dateOf = (snapshot: Listed): string =>
  new Date(snapshot['date-sec'] * 1000 + Math.floor(snapshot['date-nsec'] / 1e6)).toISOString();

/** list and info say what qemu-img does. */
const judgeInfo = async (t: Test, { path, tags }: Foreign): Promise<void> => {
  const theirs = JSON.parse(qemu('info', '--output=json', path)) as Described;
  const ours = await info({ store: path });
  t.match(ours, {
    madeBy: 'another program',
    diskBytes: theirs['virtual-size'],
    clusterSize: theirs['cluster-size'],
    digest: null,
  });
  t.same(
    ours.snapshots.map(({ id, tag, date, imageBytes }) => ({ id, tag, date, imageBytes })),
    theirs.snapshots.map((snapshot) => ({
      id: snapshot.id,
      tag: snapshot.name,
      date: dateOf(snapshot),
      imageBytes: theirs['virtual-size'],
    })),
    'listed as qemu-img does',
  );
  t.same(
    ours.snapshots.map(({ tag }) => tag),
    tags,
  );
};

/** check and verify find nothing where qemu-img does not. */
const judgeStructure = async (t: Test, { path, tags }: Foreign): Promise<void> => {
  const theirs = qemuCheck(path);
  const ours = await check({ store: path });
  t.equal(ours.leaks, theirs.leaks, 'as many leaks as qemu-img finds', { theirs, ours });
  t.equal(ours.corruptions, theirs.corruptions, 'as many corruptions', { theirs, ours });
  const verified = await verify({ store: path });
  t.match(verified, { complete: true, damagedClusters: 0, damage: [] });
  t.same(verified.unverifiable, tags, 'their content cannot be proven');
};

/** A part of the image that begins and ends anywhere. */
const somewhere = (size: number, random: Random): { start: number; length: number } => {
  const start = random.below(size);
  return { start, length: 1 + random.below(size - start) };
};

/** A snapshot comes back as qemu-img gives it: whole, onto an older copy, and in part. */
const judgeRestores = async (
  t: Test,
  { path, tag }: { path: string; tag: string },
  files: { raw: string; older: string; out: string },
): Promise<void> => {
  const { raw, older, out } = files;
  const { size } = fs.statSync(raw);
  const from = { store: path, snapshot: tag, output: out };
  t.match(await restore(from), { tag, imageBytes: size, verified: false });
  t.ok(sameFile(out, raw), `${tag} is restored`);
  copyState(older, out);
  await restore({ ...from, inPlace: true });
  t.ok(sameFile(out, raw), `${tag} is restored onto an older copy`);
  const random = new Random(size);
  for (let i = 0; i < 3; i += 1) {
    const range = somewhere(size, random);
    await restore({ ...from, range, force: true });
    const expected = fs.readFileSync(raw).subarray(range.start, range.start + range.length);
    t.ok(fs.readFileSync(out).equals(expected), `${tag}: ${range.start}+${range.length}`);
  }
  fs.rmSync(out);
};

/** A snapshot equals what qemu-img gives, and not what was changed since. */
const judgeCompare = async (
  t: Test,
  { path, tag }: { path: string; tag: string },
  { raw, out }: { raw: string; out: string },
): Promise<void> => {
  const asked = { store: path, snapshot: tag };
  t.match(await compare({ ...asked, image: raw }), { equal: true, differentBytes: 0 });
  copyState(raw, out);
  const { size } = fs.statSync(raw);
  const at = new Random(size + 1).below(size);
  const [byte = 0] = fs.readFileSync(raw).subarray(at, at + 1);
  patch(out, Buffer.of(byte ^ 1), at);
  const { equal, ranges } = await compare({ ...asked, image: out });
  t.equal(equal, false);
  const [{ start, length } = { start: 0, length: 0 }, ...more] = ranges;
  t.ok(start <= at && at < start + length && more.length === 0, `one difference, at ${at}`);
  fs.rmSync(out);
};

/** Where two snapshots differ, diff names it; it may name more. */
const judgeDiff = async (t: Test, path: string, a: Buffer, b: Buffer): Promise<void> => {
  const { ranges, exact } = await diff({ store: path, from: 'one', to: 'two' });
  t.equal(exact, false);
  for (const { start, length } of ranges) a.copy(b, start, start, start + length);
  t.ok(a.equals(b), 'nothing differs outside the ranges that diff names');
};

/** Judges all that reads. Needs no more disk than a few copies of the image. */
export const judgeForeign = async (t: Test, foreign: Foreign): Promise<void> => {
  const { path, tags } = foreign;
  const before = fs.statSync(path).mtimeMs;
  await judgeInfo(t, foreign);
  await judgeStructure(t, foreign);
  const place = (name: string): string => join(path, '..', name);
  const out = place('out');
  for (const tag of tags) convertSnapshot(path, tag, place(tag));
  // The image as it is now stands for an older copy of a file with one snapshot.
  if (tags.length < 2) qemu('convert', '-O', 'raw', path, place('now'));
  for (const [i, tag] of tags.entries()) {
    const older = place(tags[1 - i] ?? 'now');
    await judgeRestores(t, { path, tag }, { raw: place(tag), older, out });
    await judgeCompare(t, { path, tag }, { raw: place(tag), out });
  }
  if (tags.length > 1) {
    await judgeDiff(t, path, fs.readFileSync(place('one')), fs.readFileSync(place('two')));
  }
  t.equal(fs.statSync(path).mtimeMs, before, 'the file is not touched');
};
