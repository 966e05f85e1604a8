// The seal of the refcounts: 16 bytes in a header extension that say what the last commit of nvsnap left (docs/format.md).

import { DIGEST_BYTES, shortHash } from '../disk/index.js';
import type { Extension } from './extensions.js';

/** "nvrc": QEMU keeps it when it rewrites the header. */
const REFCOUNT_SEAL = 0x6e76_7263;
const WORD_BYTES = 8;

/** In place of the digest of a block that there is not. */
export const NO_BLOCK = new Uint8Array(DIGEST_BYTES);

/** The digest of a refcount table, as on disk and up to its last entry, and of the digests of its blocks. */
export const sealOf = (table: Buffer, blocks: readonly Uint8Array[]): Uint8Array => {
  let entries = table.length / WORD_BYTES;
  while (entries > 0 && table.readBigUInt64BE((entries - 1) * WORD_BYTES) === 0n) entries -= 1;
  const counted = blocks.slice(0, entries);
  return shortHash(Buffer.concat([table.subarray(0, entries * WORD_BYTES), ...counted]));
};

export const encodeSeal = (seal: Uint8Array): Extension => ({
  type: REFCOUNT_SEAL,
  data: Buffer.from(seal),
});

export const isSeal = ({ type }: Extension): boolean => type === REFCOUNT_SEAL;
