// Masks patterns of bytes wherever the image holds them: a password, a key, a name. What is stored is the masked image;
// the image itself stays as it is.
//
//     nvsnap take nvdimm.img vm.qcow2 --stage ./mask.js,file=secrets.txt,image=nvdimm.img
//     nvsnap take nvdimm.img vm.qcow2 --stage ./mask.js,hex=c0ffee00,by=58
//
// With image=, the file that is taken, the result is exact: what a stage is given ends somewhere in the image, mostly
// after some MiB, and where a pattern may go on past that end the stage looks into the file. The image must rest during
// the take, and of stages that change content this is to be the first. A source that freezes the image (reflink) freezes
// a copy: there, leave image= out.
//
// Without it (an image from a pipe, a frozen one) whatever may be the beginning or the end of a pattern is masked at
// these ends: no pattern gets through, but a few bytes may be masked that are none, and other ones in the next take.
//
// Two things to know. With --dirty only clusters are read that may have changed: of a pattern of which one half is in
// an older cluster, the other half is masked (an audit that comes by finds that, and has all of it read). And a hole in
// the image stays one: the zeros at an end of a pattern are not overwritten there.

import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { resolve } from 'node:path';
import { stage } from 'nvsnap/stage';

/** Less than the smallest cluster: so no pattern is in more than two batches, but at the image's end. */
const MOST_BYTES = 1024;
const WORDS = ['text', 'hex', 'file', 'by', 'image'];

/** @typedef {{ patterns: Uint8Array[], by: number, image: string | undefined }} Options */

/**
 * Reads bytes in hexadecimal.
 * @param {string} digits
 */
const fromHex = (digits) => {
  if (!/^([0-9a-f]{2})+$/i.test(digits)) throw new Error(`"${digits}" is not hexadecimal bytes`);
  return Buffer.from(digits, 'hex');
};

/**
 * @param {Readonly<Record<string, unknown>>} words
 * @param {string} folder
 * @returns {Uint8Array[]}
 */
const patternsOf = ({ text, hex, file }, folder) => {
  if ([text, hex, file].filter((word) => word !== undefined).length !== 1) {
    throw new Error('it needs one of text=, hex= and file=');
  }
  if (hex !== undefined) return [fromHex(String(hex))];
  if (text !== undefined) return [Buffer.from(String(text))];
  const lines = readFileSync(resolve(folder, String(file)), 'latin1').split('\n');
  return lines.filter((line) => line !== '').map((line) => Buffer.from(line, 'latin1'));
};

/**
 * Where the pattern begins in `bytes`, also where it overlaps itself.
 * @param {Buffer} bytes
 * @param {Buffer} pattern
 * @returns {Generator<number>}
 */
function* placesIn(bytes, pattern) {
  for (let at = bytes.indexOf(pattern); at >= 0; at = bytes.indexOf(pattern, at + 1)) yield at;
}

/**
 * How many of the first bytes are the end of a pattern that began before them.
 * @param {Buffer} bytes
 * @param {Buffer} pattern
 */
const tornAtStart = (bytes, pattern) => {
  for (let n = Math.min(pattern.length - 1, bytes.length); n > 0; n -= 1) {
    if (bytes.subarray(0, n).equals(pattern.subarray(pattern.length - n))) return n;
  }
  return 0;
};

/**
 * How many of the last bytes are the beginning of a pattern that goes on behind them.
 * @param {Buffer} bytes
 * @param {Buffer} pattern
 */
const tornAtEnd = (bytes, pattern) => {
  for (let n = Math.min(pattern.length - 1, bytes.length); n > 0; n -= 1) {
    if (bytes.subarray(bytes.length - n).equals(pattern.subarray(0, n))) return n;
  }
  return 0;
};

export default stage({
  name: 'mask',
  summary: 'masks patterns of bytes',
  usage: {
    text: 'the pattern as text',
    hex: 'the pattern in hexadecimal',
    file: 'a file that holds patterns, a line each',
    by: 'the byte to mask with, in hexadecimal (default 00)',
    image: 'the image, to be exact where a pattern goes on past the bytes at hand',
  },
  at: ['before:dedup'],
  changes: true,

  /** @returns {Options} */
  parse(words, { folder }) {
    const unknown = Object.keys(words).find((word) => !WORDS.includes(word));
    if (unknown) throw new Error(`it has no option "${unknown}"`);
    const patterns = patternsOf(words, folder);
    const [by = 0, ...more] = fromHex(String(words.by ?? '00'));
    if (more.length > 0) throw new Error('by= is more than one byte');
    if (patterns.length === 0) throw new Error('its file holds no pattern');
    if (patterns.some(({ length }) => length === 0 || length > MOST_BYTES)) {
      throw new Error(`its pattern is not of 1 to ${MOST_BYTES} bytes`);
    }
    // Else what is masked could be the pattern again, together with what is beside it.
    if (patterns.some((pattern) => pattern.includes(by))) {
      throw new Error('its pattern holds the byte that it is masked with; give another with by=');
    }
    if (words.image === undefined) return { patterns, by, image: undefined };
    const image = resolve(folder, String(words.image));
    closeSync(openSync(image, 'r'));
    return { patterns, by, image };
  },

  open({ patterns: given, by, image }) {
    const patterns = given.map((pattern) => Buffer.from(pattern));
    const fd = image === undefined ? undefined : openSync(image, 'r');
    const around = Buffer.alloc(2 * MOST_BYTES);
    const part = { found: 0, torn: 0 };

    /**
     * The patterns across one end of `bytes`, the image's from `offset` on: the parts of them that are in `bytes`.
     * @param {Buffer} pattern
     * @param {number} file
     * @param {Buffer} bytes
     * @param {number} offset
     * @param {number} edge where that end is, from `offset` on
     * @returns {Generator<[number, number]>}
     */
    function* across(pattern, file, bytes, offset, edge) {
      const reach = pattern.length - 1;
      // All by places in `bytes`, also those outside.
      const start = Math.max(-offset, edge - reach);
      const length = readSync(file, around, 0, edge + reach - start, offset + start);
      const window = around.subarray(0, length);
      const here = bytes.subarray(Math.max(0, start), edge + reach);
      const from = Math.max(0, start) - start;
      if (!here.equals(window.subarray(from, from + here.length))) {
        throw new Error(
          `${image} is not the image that is taken, is being written to, or was changed by another stage before`,
        );
      }
      for (const at of placesIn(window, pattern)) {
        const begins = start + at;
        const ends = begins + pattern.length;
        if (begins >= edge || ends <= edge) continue;
        // One that goes on in the next batch is counted here, not there.
        if (begins >= 0) part.found += 1;
        yield [Math.max(0, begins), Math.min(bytes.length, ends)];
      }
    }

    /**
     * What to mask of one pattern.
     * @param {Buffer} pattern
     * @param {Buffer} bytes
     * @param {number} offset
     * @returns {Generator<[number, number]>}
     */
    function* runsOf(pattern, bytes, offset) {
      for (const at of placesIn(bytes, pattern)) {
        part.found += 1;
        yield [at, at + pattern.length];
      }
      if (fd !== undefined) {
        yield* across(pattern, fd, bytes, offset, 0);
        yield* across(pattern, fd, bytes, offset, bytes.length);
        return;
      }
      const head = offset === 0 ? 0 : tornAtStart(bytes, pattern);
      const tail = tornAtEnd(bytes, pattern);
      part.torn += head + tail;
      yield [0, head];
      yield [bytes.length - tail, bytes.length];
    }

    return {
      batch(batch) {
        const { offset } = batch;
        const bytes = batch.data.subarray(0, batch.length);
        // All are found before any is masked, since they may overlap.
        const runs = patterns.flatMap((pattern) => [...runsOf(pattern, bytes, offset)]);
        for (const [from, to] of runs) bytes.fill(by, from, to);
      },
      flush: () => part,
      close() {
        if (fd !== undefined) closeSync(fd);
      },
    };
  },

  conclude(parts) {
    return {
      patterns: parts.reduce((all, { found }) => all + found, 0),
      'bytes masked in doubt': parts.reduce((all, { torn }) => all + torn, 0),
    };
  },
});
