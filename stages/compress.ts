// compress: encodes each changed cluster into the slab's second half, one after another; a cluster that does not get
// smaller stays plain. In a store with reversible stages every cluster goes through these too.

import { type Batch, type Desk, Kind, type StageThread, stage } from '../pipeline/index.js';
import { type Codec, type CodecOptions, openCodec, type PackedCodec } from './codec/index.js';
import { Links, type LinksOptions } from './plug/links.js';

export interface CompressOptions extends Omit<CodecOptions, 'codec'> {
  /** "none" only where there are links. */
  readonly codec: PackedCodec | 'none';
  readonly links?: LinksOptions | undefined;
}

/** Notes that cluster `i` is packed at `start`. */
const enter = (batch: Batch, i: number, start: number, length: number): void => {
  batch.kinds[i] = Kind.packed;
  batch.starts[i] = start;
  batch.lengths[i] = length;
};

const openPlain = (codec: Codec, clusterSize: number): StageThread => ({
  batch(batch: Batch): void | Promise<void> {
    let at = 0;
    for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
      if (batch.kinds[i] !== Kind.plain) continue;
      // The payload must be smaller than the cluster (qcow2's rule and the point of it all).
      const into = batch.packed.subarray(at, at + clusterSize - 1);
      const length = codec.encode(batch.cluster(i), into);
      if (length === 0) continue;
      enter(batch, i, at, length);
      at += length;
    }
    return codec.settle?.();
  },
});

const openLinked = (codec: Codec | undefined, links: Links, clusterSize: number): StageThread => {
  const payload = Buffer.alloc(clusterSize - 1);
  return {
    batch(batch: Batch): void | Promise<void> {
      links.begin();
      let at = 0;
      for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
        if (batch.kinds[i] !== Kind.plain) continue;
        const cluster = batch.cluster(i);
        const packed = codec?.encode(cluster, payload) ?? 0;
        const bytes = packed > 0 ? payload.subarray(0, packed) : cluster;
        const offset = batch.offset + i * clusterSize;
        const length = links.encode(bytes, packed > 0, batch.packed.subarray(at), offset);
        if (length === 0) continue;
        enter(batch, i, at, length);
        at += length;
      }
      links.end(batch.offset);
      return codec?.settle?.();
    },
    flush: () => links.flush(),
    close: () => links.close(),
  };
};

const open = async (options: CompressOptions, desk: Desk): Promise<StageThread> => {
  const { codec: name, level } = options;
  const codec =
    name === 'none' ? undefined : await openCodec({ codec: name, level }, desk.clusterSize);
  if (options.links) {
    return openLinked(codec, await Links.open(options.links, desk), desk.clusterSize);
  }
  if (!codec) throw new Error('there is nothing to encode with');
  return openPlain(codec, desk.clusterSize);
};

export default stage<CompressOptions>({
  name: 'compress',
  summary: "encodes clusters with the store's codec, and with its reversible stages",
  open,
});
