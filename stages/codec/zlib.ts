// zlib: raw deflate (RFC 1951) with a 12-bit window, qcow2's compression type 0. QEMU inflates with
// that window, so a larger one could not be read by it.

import zlib from 'node:zlib';
import type { Codec } from './codec.js';

const WINDOW_BITS = 12;
const MEM_LEVEL = 9;
const DEFAULT_LEVEL = 6;

export const open = (clusterSize: number, level: number | undefined): Codec => {
  const options = { windowBits: WINDOW_BITS, memLevel: MEM_LEVEL, level: level ?? DEFAULT_LEVEL };
  return {
    encode(cluster, into) {
      const payload = zlib.deflateRawSync(cluster, options);
      return payload.length > into.length ? 0 : payload.copy(into);
    },
    decode(payload, into) {
      const cluster = zlib.inflateRawSync(payload, { maxOutputLength: clusterSize });
      if (cluster.length !== clusterSize) {
        throw new Error(`${cluster.length} bytes instead of ${clusterSize}`);
      }
      cluster.copy(into);
    },
  };
};
