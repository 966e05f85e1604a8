// The checksum of our small records: the first 8 bytes of XXH3-128 with seed 0.

import { shortHash } from '../disk/index.js';

export const CHECKSUM_BYTES = 8;

/** 8 bytes that notice any accidental change of `data`. */
export const checksum = (data: Uint8Array): Buffer =>
  Buffer.from(shortHash(data).subarray(0, CHECKSUM_BYTES));

/** True when the 8 bytes at `view[at]` are the checksum of `data`. */
export const isChecksum = (data: Uint8Array, view: DataView, at: number): boolean => {
  const { buffer, byteOffset } = shortHash(data);
  return new DataView(buffer, byteOffset).getBigUint64(0) === view.getBigUint64(at);
};
