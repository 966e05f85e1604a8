// The power goes off in the middle of a take, at any write: afterwards the store is the old one or
// the new one, never a third. The slow test of the same name asks the tools about every state; this
// one about those around the syncs and the header's write, and holds all others against them byte
// by byte.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type LogEntry, MiB } from '../../disk/index.js';
import { restore, take } from '../../snapshot/index.js';
import {
  type Crash,
  crashesOf,
  importsOf,
  judge,
  PLAIN_4K,
  publishAt,
  removalsOf,
  ZSTD_64K,
} from '../tools/crashes.js';
import { Random, sameFile, tempDir } from '../tools/files.js';
import { PowerCuts } from '../tools/powercut.js';
import { checkClean } from '../tools/qemu.js';

t.setTimeout(180_000);

const SEED = 20261123;
/** Random states of each cut. */
const PER_CUT = 4;
/** States of each cut at a sync or the header's write that the tools are asked about. */
const ASKED = 2;

/** A commit is two syncs and one write of the header's sector, the last write of all. */
const checkCommit = (t: Test, { log, base, result }: Crash): void => {
  const kinds = log.map(({ kind }) => kind);
  t.equal(kinds.filter((kind) => kind === 'sync').length, 2, 'two syncs');
  const headers = log.flatMap((entry) =>
    entry.kind === 'write' && entry.position < 512 ? [[entry.position, entry.data.length]] : [],
  );
  t.same(headers, [[0, 512]], 'one write of the header, and only of its sector');
  t.equal(publishAt(log), log.length - 2, 'it is the last write of all');
  t.same(kinds.slice(-3), ['sync', 'write', 'sync'], 'with a sync before and after it');
  const expected = new PowerCuts(base.bytes, log).killed(log.length);
  t.ok(expected.equals(result.bytes), 'the log is all that happened to the store');
};

/** Writes of the take below the store's old end. */
const reuses = ({ log, base }: Crash): number =>
  log.filter(
    (entry) => entry.kind === 'write' && entry.position > 0 && entry.position < base.bytes.length,
  ).length;

const large = ({ image }: Crash): boolean => fs.statSync(image).size > 64 * MiB;

for (const kind of [PLAIN_4K, ZSTD_64K]) {
  t.test(`a power cut leaves the old store or the new one: ${kind.name}`, async (t) => {
    for await (const crash of crashesOf(tempDir(t), kind, SEED)) {
      checkCommit(t, crash);
      if (crash.name.includes('freed')) t.ok(reuses(crash) > 0, 'freed clusters are used again');
      const verdict = await judge(crash, {
        seed: SEED,
        perCut: PER_CUT,
        // Half a gigabyte of holes takes its time in every tool.
        ask: (_, n, special) => special && n < (large(crash) ? 1 : ASKED),
      });
      t.ok(verdict.states >= PER_CUT * crash.log.length);
      t.ok(verdict.judged >= 4);
      t.comment(
        `${crash.name}: ${crash.log.length} entries, ${verdict.states} states, ${verdict.judged} of them ` +
          `checked by qemu-img, ${verdict.restored} snapshots restored, ${verdict.converted} converted`,
      );
    }
  });
}

for (const kind of [PLAIN_4K, ZSTD_64K]) {
  t.test(`a power cut in a removal leaves it done or not begun: ${kind.name}`, async (t) => {
    for await (const crash of removalsOf(tempDir(t), kind, SEED)) {
      const publish = publishAt(crash.log);
      t.equal(crash.log[publish - 1]?.kind, 'sync', 'a sync before the header');
      t.equal(crash.log[publish + 1]?.kind, 'sync', 'and one before space is given back');
      const ask = (_: number, n: number, special: boolean): boolean => special && n < ASKED;
      const verdict = await judge(crash, { seed: SEED, perCut: PER_CUT, ask });
      t.ok(verdict.states >= PER_CUT * crash.log.length && verdict.judged >= 4);
      t.comment(`${crash.name}: ${crash.log.length} entries, ${verdict.states} states`);
    }
  });
}

for (const kind of [PLAIN_4K, ZSTD_64K]) {
  t.test(`a power cut in an import leaves it done or not begun: ${kind.name}`, async (t) => {
    for await (const crash of importsOf(tempDir(t), kind, SEED)) {
      checkCommit(t, crash);
      const ask = (_: number, n: number, special: boolean): boolean => special && n < ASKED;
      const verdict = await judge(crash, { seed: SEED, perCut: PER_CUT, ask });
      t.ok(verdict.states >= PER_CUT * crash.log.length && verdict.judged >= 4);
      t.comment(`${crash.name}: ${crash.log.length} entries, ${verdict.states} states`);
    }
  });
}

t.test('the next take after a power cut works, in the space that the cut one left', async (t) => {
  for await (const crash of crashesOf(tempDir(t), PLAIN_4K, SEED)) {
    const cuts = new PowerCuts(crash.base.bytes, crash.log);
    const torn: Buffer[] = [];
    for (const state of cuts.states(publishAt(crash.log), new Random(SEED), 1)) {
      torn.push(Buffer.from(state));
    }
    const store = join(crash.folder, 'cut');
    const output = join(crash.folder, 'restored');
    // All of the cut take's writes, and a random part of them.
    for (const state of [torn[0], torn.at(-1)]) {
      fs.writeFileSync(store, state as Buffer);
      await take({ image: crash.image, store, tag: 'next' });
      checkClean(store);
      const size = fs.statSync(store).size;
      t.ok(size <= crash.result.bytes.length, `${size} bytes, not more than without the cut`);
      await restore({ store, snapshot: 'next', output, force: true });
      t.ok(sameFile(output, crash.image));
    }
  }
});

t.test('a commit in the wrong order is found out', async (t) => {
  const lastWrite = (log: readonly LogEntry[]): number =>
    log.findLastIndex((entry) => entry.kind === 'write' && entry.position > 0);
  const wrong: ReadonlyArray<readonly [string, (log: readonly LogEntry[]) => LogEntry[]]> = [
    ['without its first sync', (log) => log.filter((_, i) => i !== publishAt(log) - 1)],
    ['with the header first', (log) => [log[publishAt(log)] as LogEntry, ...log]],
    ['without its last table', (log) => log.filter((_, i) => i !== lastWrite(log))],
    ['without its last sync', (log) => log.slice(0, -1)],
  ];
  for await (const crash of crashesOf(tempDir(t), ZSTD_64K, SEED)) {
    for (const [name, change] of wrong) {
      const log = change(crash.log);
      const judged = judge({ ...crash, log }, { seed: SEED, perCut: PER_CUT, ask: () => false });
      await t.rejects(judged, name);
    }
    break;
  }
});
