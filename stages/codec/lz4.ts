// lz4: a private encoding (docs/format.md, "Private payloads").
//
//    4 bytes LE   exact length of what follows
//    4 bytes LE   length when decoded: always one cluster (lz4-napi's own prefix)
//    block        LZ4 block format
//
// Both lengths are checked before the decoder sees them: lz4-napi allocates what the second claims.

import { compressSync, uncompressSync } from 'lz4-napi';
import type { Codec } from './codec.js';

const LENGTH_BYTES = 4;

export const open = (clusterSize: number): Codec => ({
  encode(cluster, into) {
    const block = compressSync(cluster);
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
    if (cluster.length !== clusterSize) {
      throw new Error(`${cluster.length} bytes instead of ${clusterSize}`);
    }
    cluster.copy(into);
  },
});
