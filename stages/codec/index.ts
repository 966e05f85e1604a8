// The codecs by name. Each is loaded only in the threads that use it.

import type { Codec, OpenCodec } from './codec.js';

export type { Codec } from './codec.js';

/** A codec's name; "none" stores every cluster plain and needs no codec. */
export type PackedCodec = 'zstd' | 'zlib' | 'lz4';

export interface CodecOptions {
  readonly codec: PackedCodec;
  /** The codec's own level; undefined for its default. */
  readonly level?: number | undefined;
}

/** The levels each codec takes, lowest and highest; undefined where there is none to choose. */
export const LEVELS: Readonly<Record<PackedCodec | 'none', readonly [number, number] | undefined>> =
  {
    zstd: [-50, 19],
    zlib: [1, 9],
    lz4: undefined,
    none: undefined,
  };

const LOAD: Readonly<Record<PackedCodec, () => Promise<{ readonly open: OpenCodec }>>> = {
  zstd: () => import('./zstd.js'),
  zlib: () => import('./zlib.js'),
  lz4: () => import('./lz4.js'),
};

export const openCodec = async (
  { codec, level }: CodecOptions,
  clusterSize: number,
): Promise<Codec> => {
  const { open } = await LOAD[codec]();
  return open(clusterSize, level);
};
