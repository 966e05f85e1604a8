// lz4: a private encoding (docs/format.md, "Private payloads").
//
//    4 bytes LE   exact length of what follows
//    4 bytes LE   length when decoded: always one cluster (lz4-napi's own prefix)
//    block        LZ4 block format
//
// Both lengths are checked before the decoder sees them: lz4-napi allocates what the second claims.

import { setImmediate } from 'node:timers/promises';
import v8 from 'node:v8';
import vm from 'node:vm';
import { compressSync, uncompressSync } from 'lz4-napi';
import type { Codec } from './codec.js';

const LENGTH_BYTES = 4;
/** lz4-napi allocates every block it returns; so many bytes of them may wait to be collected. */
const GARBAGE_BYTES = 4 * 1024 * 1024;

v8.setFlagsFromString('--expose-gc');
const gc = vm.runInNewContext('gc') as (options: { type: 'minor' }) => void;

export const open = (clusterSize: number): Codec => {
  let garbage = 0;
  return {
    encode(cluster, into) {
      const block = compressSync(cluster);
      garbage += block.length;
      if (LENGTH_BYTES + block.length > into.length) return 0;
      into.writeUInt32LE(block.length, 0);
      block.copy(into, LENGTH_BYTES);
      return LENGTH_BYTES + block.length;
    },
    decode(payload, into) {
      const length = payload.length < 2 * LENGTH_BYTES ? 0 : payload.readUInt32LE(0);
      if (length < LENGTH_BYTES || LENGTH_BYTES + length > payload.length) {
        throw new Error('its length prefix is impossible');
      }
      const block = payload.subarray(LENGTH_BYTES, LENGTH_BYTES + length);
      if (block.readUInt32LE(0) !== clusterSize) {
        throw new Error(`it claims ${block.readUInt32LE(0)} bytes instead of ${clusterSize}`);
      }
      const cluster = uncompressSync(block);
      garbage += cluster.length;
      if (cluster.length !== clusterSize) {
        throw new Error(`${cluster.length} bytes instead of ${clusterSize}`);
      }
      cluster.copy(into);
    },
    /**
     * The collector sees only the small objects in front of the blocks and lets hundreds of MiB pile
     * up; so it is called when they add up to a few. The young generation is enough and costs about
     * 1 ms; the blocks themselves are freed when the event loop turns.
     */
    async settle() {
      if (garbage < GARBAGE_BYTES) return;
      garbage = 0;
      gc({ type: 'minor' });
      await setImmediate();
    },
  };
};
