// What a codec is: one cluster in, one payload out, and back.

/** Encodes and decodes clusters of one size; one object per thread. */
export interface Codec {
  /** Writes the payload of `cluster` to `into`; returns its length, or 0 when it does not fit. */
  encode(cluster: Buffer, into: Buffer): number;
  /**
   * Fills `into` (one cluster) from `payload`, which may have bytes behind it that do not belong to
   * it. Throws when it cannot: the bytes are not to be trusted.
   */
  decode(payload: Buffer, into: Buffer): void;
  /** Called after each batch: gives back what the codec's library holds on to. */
  settle?(): Promise<void>;
}

/** Opens a codec for clusters of `clusterSize` bytes at a level (undefined: its default). */
export type OpenCodec = (clusterSize: number, level: number | undefined) => Codec;
