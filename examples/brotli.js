// A codec of one's own: brotli (RFC 7932), as node:zlib has it. It is slow where it is good, so it suits images that
// change little and are kept for long.
//
//     nvsnap take nvdimm.img vm.qcow2 --compression none --stage ./brotli.js,quality=9
//     nvsnap restore vm.qcow2 latest back.img --stage ./brotli.js
//     nvsnap convert vm.qcow2 standard.qcow2 --compression zstd --stage ./brotli.js --leave-stages
//
// The store needs --compression none: what zstd has packed does not get smaller again, and a stage that takes only plain
// clusters says so by leaving "packed" out of what it takes. A cluster that does not shrink is stored as it is.

import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import { stage } from 'nvsnap/stage';

const { BROTLI_PARAM_LGWIN, BROTLI_PARAM_QUALITY, BROTLI_PARAM_SIZE_HINT } = constants;
const { BROTLI_MIN_WINDOW_BITS, BROTLI_MAX_WINDOW_BITS, BROTLI_MAX_QUALITY } = constants;
const DEFAULT_QUALITY = 5;
/** What nvsnap puts before each payload. */
const FRAME_BYTES = 8;

export default stage({
  name: 'brotli',
  version: '1',
  summary: 'compresses what is stored with brotli',
  usage: { quality: `0 (fast) to ${BROTLI_MAX_QUALITY} (small); default: the store's, at first 5` },
  takes: ['plain'],

  /** @returns {{ quality: number }} */
  parse(words, { kept }) {
    const unknown = Object.keys(words).find((word) => word !== 'quality');
    if (unknown) throw new Error(`it has no option "${unknown}"`);
    const known = /** @type {{ quality: number } | undefined} */ (kept);
    const quality = Number(words.quality ?? known?.quality ?? DEFAULT_QUALITY);
    if (Number.isInteger(quality) && quality >= 0 && quality <= BROTLI_MAX_QUALITY)
      return { quality };
    throw new Error(
      `quality=${words.quality} is not a whole number from 0 to ${BROTLI_MAX_QUALITY}`,
    );
  },

  reversible: {
    growth: 0,
    // Reading works without; later takes go on with it.
    keeps: ({ quality }) => ({ quality }),
  },

  open({ quality }, { clusterSize }) {
    // A window of the cluster's size: a larger one costs memory and finds nothing more.
    const bits = Math.ceil(Math.log2(clusterSize)) + 1;
    const params = {
      [BROTLI_PARAM_QUALITY]: quality,
      [BROTLI_PARAM_LGWIN]: Math.min(
        BROTLI_MAX_WINDOW_BITS,
        Math.max(BROTLI_MIN_WINDOW_BITS, bits),
      ),
      [BROTLI_PARAM_SIZE_HINT]: clusterSize,
    };
    const part = { declined: 0 };
    return {
      encode(bytes, into) {
        const payload = brotliCompressSync(bytes, { params });
        if (payload.length + FRAME_BYTES < bytes.length) return payload.copy(into);
        part.declined += 1;
        return 0;
      },
      // Without a limit, a few damaged bytes could ask for any amount of memory.
      decode: (bytes, into) =>
        brotliDecompressSync(bytes, { maxOutputLength: into.length }).copy(into),
      flush: () => part,
    };
  },

  conclude: (parts) => ({
    'clusters left plain': parts.reduce((all, { declined }) => all + declined, 0),
  }),
});
