// Masks a pattern of bytes wherever the image holds it: a password, a key, a name. What is stored is the masked image;
// the image itself stays as it is.
//
//     nvsnap take nvdimm.img vm.qcow2 --stage ./mask.js,file=password.txt,image=nvdimm.img
//     nvsnap take nvdimm.img vm.qcow2 --stage ./mask.js,hex=c0ffee00,by=58
//
// With image=, the file that is taken, the result is exact: what a stage is given ends somewhere in the image, mostly
// after some MiB, and where a pattern may go on past that end the stage looks into the file. The image must rest during
// the take. A source that freezes the image (reflink) freezes a copy: there, leave image= out.
//
// Without it (an image from a pipe, a frozen one) whatever may be the beginning or the end of a pattern is masked at
// these ends: no pattern gets through, but a few bytes may be masked that are none, and other ones in the next take.
//
// Two things to know. With --dirty only clusters are read that may have changed: of a pattern of which one half is in an
// older cluster, the other half is masked (an audit that comes by finds that, and has all of it read). And a hole in the image stays one: the zeros at an end of a pattern are not
// overwritten there.

import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { resolve } from 'node:path';
import { stage } from 'nvsnap/stage';

/** Less than the smallest cluster: so no pattern is in more than two batches, but at the image's end. */
const MOST_BYTES = 1024;
const WORDS = ['text', 'hex', 'file', 'by', 'image'];

/** @typedef {{ pattern: Uint8Array, by: number, image: string | undefined }} Options */

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
 */
const patternOf = ({ text, hex, file }, folder) => {
  if ([text, hex, file].filter((word) => word !== undefined).length !== 1) {
    throw new Error('it needs one of text=, hex= and file=');
  }
  if (hex !== undefined) return fromHex(String(hex));
  if (text !== undefined) return Buffer.from(String(text));
  const bytes = readFileSync(resolve(folder, String(file)));
  // The line end that an editor has put there.
  return bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
};

/**
 * Calls `found` with each occurrence, also those that overlap, by where it begins.
 * @param {Buffer} bytes
 * @param {Buffer} pattern
 * @param {(at: number) => void} found
 */
const eachIn = (bytes, pattern, found) => {
  for (let at = bytes.indexOf(pattern); at >= 0; at = bytes.indexOf(pattern, at + 1)) found(at);
};

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
  summary: 'masks a pattern of bytes',
  usage: {
    text: 'the pattern as text',
    hex: 'the pattern in hexadecimal',
    file: 'a file that holds it; a line end behind it does not count',
    by: 'the byte to mask with, in hexadecimal (default 00)',
    image: 'the image, to be exact where a pattern goes on past the bytes at hand',
  },
  at: ['before:dedup'],
  changes: true,

  /** @returns {Options} */
  parse(words, { folder }) {
    const unknown = Object.keys(words).find((word) => !WORDS.includes(word));
    if (unknown) throw new Error(`it has no option "${unknown}"`);
    const pattern = patternOf(words, folder);
    const [by = 0, ...more] = fromHex(String(words.by ?? '00'));
    if (more.length > 0) throw new Error('by= is more than one byte');
    if (pattern.length === 0 || pattern.length > MOST_BYTES) {
      throw new Error(`its pattern is not of 1 to ${MOST_BYTES} bytes`);
    }
    // Else what is masked could be the pattern again, together with what is beside it.
    if (pattern.includes(by)) {
      throw new Error('its pattern holds the byte that it is masked with; give another with by=');
    }
    if (words.image === undefined) return { pattern, by, image: undefined };
    const image = resolve(folder, String(words.image));
    closeSync(openSync(image, 'r'));
    return { pattern, by, image };
  },

  open({ pattern: given, by, image }) {
    const pattern = Buffer.from(given);
    const reach = pattern.length - 1;
    const fd = image === undefined ? undefined : openSync(image, 'r');
    const around = Buffer.alloc(2 * reach);
    const part = { found: 0, torn: 0 };

    /**
     * The patterns across one end of `bytes`, the image's from `offset` on: the parts of them that are in `bytes`.
     * @param {number} file
     * @param {Buffer} bytes
     * @param {number} offset
     * @param {number} edge where that end is, in the image
     */
    const across = (file, bytes, offset, edge) => {
      const start = Math.max(0, edge - reach);
      const window = around.subarray(0, readSync(file, around, 0, edge + reach - start, start));
      const from = Math.max(start, offset);
      const to = Math.min(edge + reach, offset + bytes.length);
      const here = bytes.subarray(from - offset, to - offset);
      if (!here.equals(window.subarray(from - start, to - start))) {
        throw new Error(`${image} is not the image that is taken, or it is being written to`);
      }
      /** @type {[number, number][]} */
      const runs = [];
      eachIn(window, pattern, (at) => {
        const begins = start + at;
        const ends = begins + pattern.length;
        if (begins >= edge || ends <= edge) return;
        runs.push([Math.max(begins, offset), Math.min(ends, offset + bytes.length)]);
        // One that goes on in the next batch is counted here, not there.
        if (begins >= offset) part.found += 1;
      });
      return runs;
    };

    /**
     * What to mask at both ends, by places in the image.
     * @param {Buffer} bytes
     * @param {number} offset
     * @returns {[number, number][]}
     */
    const atEnds = (bytes, offset) => {
      const end = offset + bytes.length;
      if (fd !== undefined) {
        return [...across(fd, bytes, offset, offset), ...across(fd, bytes, offset, end)];
      }
      const head = offset === 0 ? 0 : tornAtStart(bytes, pattern);
      const tail = tornAtEnd(bytes, pattern);
      part.torn += head + tail;
      return [
        [offset, offset + head],
        [end - tail, end],
      ];
    };

    return {
      batch(batch) {
        const { offset } = batch;
        const bytes = batch.data.subarray(0, batch.length);
        // Looked for before anything is masked: patterns may overlap.
        const ends = reach === 0 ? [] : atEnds(bytes, offset);
        /** What was found and is not masked yet: the search goes on behind where that begins. */
        let [from, to] = [0, 0];
        eachIn(bytes, pattern, (at) => {
          part.found += 1;
          bytes.fill(by, from, Math.min(to, at));
          [from, to] = [at, at + pattern.length];
        });
        bytes.fill(by, from, to);
        for (const [start, end] of ends) bytes.fill(by, start - offset, end - offset);
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
