// decode: turns payloads back into clusters, and takes the fingerprints of the batch while its bytes are in
// the processor's cache; verify holds them against the recorded ones.

import {
  DIGEST_BYTES,
  type DigestOptions,
  Fault,
  fault,
  openDigester,
  reasonOf,
} from '../disk/index.js';
import { type Batch, type Desk, Kind, type StageThread, stage } from '../pipeline/index.js';
import { type Codec, type CodecOptions, openCodec } from './codec/index.js';
import { isBreach } from './plug/link.js';
import { Links, type LinksOptions } from './plug/links.js';

/** Only a batch with a payload has anything to decode. */
export const hasPayload = (batch: Batch): boolean => batch.has(Kind.packed);

export interface DecodeOptions extends CodecOptions {
  /** How the store's digests are made; undefined when it has none. */
  readonly digests?: DigestOptions | undefined;
  /** True to mark what cannot be decoded as damaged and go on, false to fail. */
  readonly tolerant?: boolean | undefined;
  /** The reversible stages of the store. */
  readonly links?: LinksOptions | undefined;
}

/** Takes one payload apart; throws when it cannot. */
type Decode = (payload: Buffer, into: Buffer, offset: number) => void;

/** In a store with reversible stages a payload is a frame, of a codec's payload or a cluster. */
const throughLinks =
  (codec: Codec, links: Links): Decode =>
  (frame, into, offset) => {
    const { bytes, packed } = links.decode(frame, into, offset);
    if (packed) codec.decode(bytes, into);
    else if (bytes.length !== into.length) throw new Error('it is not a cluster');
  };

const open = async (options: DecodeOptions, desk: Desk): Promise<StageThread> => {
  const { clusterSize } = desk;
  const codec = await openCodec(options, clusterSize);
  const { digests } = options;
  const digester = digests && openDigester(digests);
  const links = options.links && (await Links.open(options.links, desk));
  const decode: Decode = links
    ? throughLinks(codec, links)
    : (payload, into) => codec.decode(payload, into);

  /** Digests cluster `i`: zeros for one that is not stored. */
  const digest = (batch: Batch, i: number): void => {
    const at = i * DIGEST_BYTES;
    if (batch.kinds[i] === Kind.zero) batch.digests.fill(0, at, at + DIGEST_BYTES);
    else digester?.fingerprints(batch.content(i), clusterSize, batch.digests, at);
  };

  /** Marks cluster `i` as damaged, or fails. */
  const refuse = (batch: Batch, i: number, error: unknown): void => {
    if (options.tolerant && !isBreach(error)) {
      batch.kinds[i] = Kind.damaged;
      return;
    }
    if (error instanceof Fault) throw error;
    throw fault('payload-damaged', {
      offset: batch.offset + i * clusterSize,
      codec: options.codec,
      reason: reasonOf(error),
    });
  };

  /** Decodes cluster `i`. */
  const unpack = (batch: Batch, i: number): void => {
    const start = batch.starts[i] as number;
    const payload = batch.packed.subarray(start, start + (batch.lengths[i] as number));
    try {
      decode(payload, batch.cluster(i), batch.offset + i * clusterSize);
    } catch (error) {
      refuse(batch, i, error);
    }
  };

  return {
    batch(batch: Batch): void | Promise<void> {
      for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
        if (batch.kinds[i] === Kind.packed) unpack(batch, i);
        if (digester && !batch.unproven) digest(batch, i);
      }
      batch.digested = digester !== undefined && !batch.unproven;
      links?.end(batch.offset);
      return codec.settle?.();
    },
    ...(links ? { flush: () => links.flush(), close: () => links.close() } : {}),
  };
};

export default stage({
  name: 'decode',
  summary: 'undoes the reversible stages and the codec',
  open,
});
