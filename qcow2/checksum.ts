// The checksum of our small records: the first 8 bytes of XXH3-128 with seed 0.

import { DIGEST_BYTES, type Digester, openDigester } from '../disk/index.js';

let digester: Digester | undefined;

/** 8 bytes that notice any accidental change of `data`. */
export const checksum = (data: Uint8Array): Buffer => {
  const out = Buffer.alloc(DIGEST_BYTES);
  digester ??= openDigester('xxh3-128', new Uint8Array(8));
  digester.digest(data, out, 0);
  return out.subarray(0, 8);
};

export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
