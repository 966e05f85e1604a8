// fetch: reads plain clusters and payloads of a snapshot from the store into the slab.

import { attachFile, type FileSpec } from '../disk/index.js';
import { type Batch, Kind, stage } from '../pipeline/index.js';

/** A part of the store that lands in one piece of the slab. */
interface Piece {
  readonly memory: Buffer;
  from: number;
  to: number;
  place: number;
}

/** The pieces of a batch: neighbours in the store whose distance in the slab is the same are one. */
const piecesOf = (batch: Batch): Piece[] => {
  const { clusterSize } = batch.layout;
  const pieces: Piece[] = [];
  const last: { plain?: Piece; packed?: Piece } = {};
  for (let i = 0; i < batch.count; i += 1) {
    const kind = batch.kinds[i];
    if (kind !== Kind.plain && kind !== Kind.packed) continue;
    const name = kind === Kind.plain ? 'plain' : 'packed';
    const from = kind === Kind.plain ? i * clusterSize : (batch.starts[i] as number);
    const to = from + (kind === Kind.plain ? clusterSize : (batch.lengths[i] as number));
    const place = batch.places[i] as number;
    const open = last[name];
    if (open && from <= open.to && place - open.place === from - open.from) {
      open.to = Math.max(open.to, to);
      continue;
    }
    const piece = { memory: kind === Kind.plain ? batch.data : batch.packed, from, to, place };
    last[name] = piece;
    pieces.push(piece);
  }
  return pieces;
};

export default stage<FileSpec>({
  name: 'fetch',
  open: (spec) => {
    const file = attachFile(spec);
    return {
      batch(batch) {
        for (const { memory, from, to, place } of piecesOf(batch)) {
          const into = memory.subarray(from, to);
          // A store may end inside its last cluster; the rest of that cluster reads as zeros.
          into.fill(0, file.read(into, place));
        }
      },
    };
  },
});
