// Reads the image no faster than so many bytes a second, so that a take leaves the disk and the processors to the guest.
//
//     nvsnap take nvdimm.img vm.qcow2 --stage ./throttle.js,rate=100M
//     nvsnap take nvdimm.img vm.qcow2 --stage ./throttle.js@before:compress,rate=20M     of what has changed
//
// One thread, so that the rate holds for all of the take: each batch is kept until its time has come, and since no slab
// is free meanwhile, nothing more is read. What has been read ahead fits into --memory.

import { stage } from 'nvsnap/stage';

const UNITS = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };
/** A batch of 16 MiB takes less than the stage's patience at this rate. */
const LEAST_RATE = 1024;
const PATIENCE_SECONDS = 24 * 60 * 60;
/** So often a cancelled take is noticed. */
const SLICE_MS = 50;

export default stage({
  name: 'throttle',
  summary: 'limits how fast the image is read',
  usage: { rate: 'bytes a second, with K, M or G behind it' },
  at: ['before:dedup', 'before:compress', 'before:pad'],
  threads: 1,
  patience: PATIENCE_SECONDS,

  /** @returns {{ rate: number }} bytes a second */
  parse(words) {
    const unknown = Object.keys(words).find((word) => word !== 'rate');
    if (unknown) throw new Error(`it has no option "${unknown}"`);
    const [, digits = '', unit = ''] = /^(\d+)([KMG]?)$/i.exec(String(words.rate)) ?? [];
    const rate = Number(digits) * UNITS[/** @type {keyof typeof UNITS} */ (unit.toUpperCase())];
    if (rate >= LEAST_RATE) return { rate };
    throw new Error(`it needs rate=BYTES, at least ${LEAST_RATE}, with K, M or G behind it`);
  },

  open({ rate }, desk) {
    const part = { bytes: 0, waitedMs: 0 };
    /** When the next batch may begin, in milliseconds. */
    let next = 0;
    return {
      async batch(batch) {
        let bytes = 0;
        for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
          bytes += batch.lengthOf(i);
        }
        const began = performance.now();
        // Time in which nothing came is not made up for.
        next = Math.max(next, began) + (bytes / rate) * 1000;
        let now = began;
        while (now < next && !desk.cancelled()) {
          const rest = Math.min(SLICE_MS, next - now);
          await new Promise((resolve) => setTimeout(resolve, rest));
          now = performance.now();
        }
        part.bytes += bytes;
        part.waitedMs += now - began;
      },
      flush: () => part,
    };
  },

  conclude: (parts) => ({
    bytes: parts.reduce((all, { bytes }) => all + bytes, 0),
    'milliseconds waited': Math.round(parts.reduce((all, { waitedMs }) => all + waitedMs, 0)),
  }),
});
