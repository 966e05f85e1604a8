// Tells how much of what changes is zeros, text and noise: the entropy of a sample of each page (Shannon, in bits a byte).
//
//     nvsnap take nvdimm.img vm.qcow2 --stage ./entropy.js
//     nvsnap take nvdimm.img vm.qcow2 --stage ./entropy.js@before:dedup      all that is read

import { stage } from 'nvsnap/stage';

const PAGE_BYTES = 4096;
/** Every so many bytes of a page are looked at. */
const STEP = 16;

export default stage({
  name: 'entropy',
  summary: 'tells how much of the data is like text, code or noise',
  at: ['before:compress', 'before:dedup', 'before:pad'],

  open() {
    const counts = new Uint32Array(256);
    const part = { pages: 0, bits: 0, noise: 0 };

    /** Bits a byte. */
    const entropyOf = (page) => {
      counts.fill(0);
      let looked = 0;
      for (let at = 0; at < page.length; at += STEP) {
        counts[page[at]] += 1;
        looked += 1;
      }
      let bits = 0;
      for (const count of counts)
        if (count > 0) bits -= (count / looked) * Math.log2(count / looked);
      return bits;
    };

    return {
      batch(batch) {
        for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
          if (batch.kinds[i] !== 0) continue;
          const cluster = batch.content(i);
          for (let at = 0; at < cluster.length; at += PAGE_BYTES) {
            const bits = entropyOf(cluster.subarray(at, at + PAGE_BYTES));
            part.pages += 1;
            part.bits += bits;
            if (bits > 7) part.noise += 1;
          }
        }
      },
      flush: () => part,
    };
  },

  conclude(parts) {
    const sum = (of) => parts.reduce((all, part) => all + of(part), 0);
    const pages = sum((part) => part.pages);
    return {
      pages,
      'bits per byte': pages === 0 ? 0 : Number((sum((part) => part.bits) / pages).toFixed(2)),
      'noise pages': sum((part) => part.noise),
    };
  },
});
