// A dirty source: another program lists what it has written, "offset length" in bytes a line, decimal or 0x….
//
//     nvsnap take nvdimm.img vm.qcow2 --dirty ./dirty-list.js,list=/run/vm/writes
//
// That program goes on listing, and puts LIST in place as a whole before each take. When a take has succeeded it begins
// a new list, with all that was written since the take began; when it has failed, the old list goes on.
//
// A list does not say which snapshot it counts from, and an old one looks like a new one. So a small file beside it,
// LIST.since, remembers for which snapshot, of which image, the last line was drawn. Where that is not the parent,
// nothing is claimed, and the whole image is read: at the first take, or when somebody has taken without this source.
// Of two takes that use one list at the same time, only the one that began last goes on from it.

import { randomUUID } from 'node:crypto';
import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { source } from 'nvsnap/source';

/** The kernel dates files by a clock that ticks every few milliseconds. */
const CLOCK_TICK_MS = 10;

/** @typedef {{ snapshot?: string, image?: string, line?: string }} State */

/**
 * What the file beside a list says.
 * @param {string} path
 * @returns {State}
 */
const readState = (path) => {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code === 'ENOENT' || error instanceof SyntaxError) return {};
    throw error;
  }
};

/**
 * Whole or not at all.
 * @param {string} path
 * @param {State} state
 */
const writeState = (path, state) => {
  writeFileSync(`${path}.new`, JSON.stringify(state));
  renameSync(`${path}.new`, path);
};

const LINE = /^(0x[0-9a-f]+|\d+)\s+(0x[0-9a-f]+|\d+)$/i;

/**
 * The ranges of a list: sorted, disjoint, and within an image of so many bytes.
 * @param {string} text
 * @param {number} size
 */
const rangesIn = (text, size) => {
  /** @type {{ start: number, end: number }[]} */
  const found = [];
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [, offset, length] = LINE.exec(line.trim()) ?? [];
    if (offset === undefined) throw new Error(`line ${i + 1} of its list is not "offset length"`);
    const start = Number(offset);
    // Past the end there is nothing any more.
    const end = Math.min(start + Number(length), size);
    if (end > start) found.push({ start, end });
  }
  found.sort((a, b) => a.start - b.start);
  /** @type {{ start: number, end: number }[]} */
  const ranges = [];
  for (const { start, end } of found) {
    const last = ranges.at(-1);
    if (last && start <= last.end) last.end = Math.max(last.end, end);
    else ranges.push({ start, end });
  }
  return ranges;
};

/**
 * Why a list does not count from the parent; undefined when it does.
 * @param {State} state
 * @param {import('nvsnap').TrackedImage} image
 * @param {import('nvsnap').Since} since
 * @param {number} writtenAt
 */
const misfitOf = (state, image, since, writtenAt) => {
  if (state.snapshot === undefined) return 'it is the first take with this list';
  if (state.image !== image.identity) return 'the list counts for another image';
  if (state.snapshot !== since.uuid) return 'the list counts from another snapshot';
  if (writtenAt + CLOCK_TICK_MS < since.takenAt) return 'the list is older than the parent';
  return undefined;
};

export default source({
  name: 'dirty-list',
  summary: 'reads what may have changed from a list of offsets and lengths',
  usage: { list: 'the file with the list' },

  open({ list }, { folder }) {
    if (!list) throw new Error('it needs list=FILE');
    const path = resolve(folder, list);
    const beside = `${path}.since`;
    return {
      name: 'dirty-list',
      certainty: 'exact',
      async begin(image, since) {
        const { mtimeMs } = statSync(path);
        const ranges = rangesIn(readFileSync(path, 'utf8'), image.size);
        const state = readState(beside);
        const reason = since && misfitOf(state, image, since, mtimeMs);
        // The snapshot stays named until there is a new one: a take that fails loses nothing.
        const line = randomUUID();
        writeState(beside, { ...state, line });
        return {
          id: line,
          changes: reason ? { known: false, reason } : { known: true, extents: () => ranges },
          async commit(snapshot) {
            if (readState(beside).line !== line) {
              throw new Error('another take has used the list meanwhile');
            }
            writeState(beside, { snapshot, image: image.identity, line });
          },
          async dispose() {},
        };
      },
    };
  },
});
