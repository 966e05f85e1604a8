// fetch: reads plain clusters and payloads of a snapshot from the store into the slab, and fills up clusters of
// which only parts are stored.

import { attachFile, type FileSpec } from '../disk/index.js';
import { type Batch, Kind, stage } from '../pipeline/index.js';

/** A cluster with subclusters has so many. */
const PARTS = 32;

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
    const whole = kind === Kind.plain || kind === Kind.partial;
    if (!whole && kind !== Kind.packed) continue;
    const name = whole ? 'plain' : 'packed';
    const from = whole ? batch.startOf(i) : (batch.starts[i] as number);
    const to = from + (whole ? clusterSize : (batch.lengths[i] as number));
    const place = batch.places[i] as number;
    const open = last[name];
    if (open && from <= open.to && place - open.place === from - open.from) {
      open.to = Math.max(open.to, to);
      continue;
    }
    const piece = { memory: whole ? batch.data : batch.packed, from, to, place };
    last[name] = piece;
    pieces.push(piece);
  }
  return pieces;
};

/** Clears the parts of clusters that are not stored: what lies in their places is not of this snapshot. */
const completeParts = (batch: Batch): void => {
  const bytes = batch.layout.clusterSize / PARTS;
  for (let i = 0; i < batch.count; i += 1) {
    if (batch.kinds[i] !== Kind.partial) continue;
    const stored = batch.parts[i] as number;
    for (let part = 0; part < PARTS; part += 1) {
      if (((stored >>> part) & 1) === 0) batch.cluster(i).fill(0, part * bytes, (part + 1) * bytes);
    }
    batch.kinds[i] = Kind.plain;
  }
};

export default stage<FileSpec>({
  name: 'fetch',
  summary: 'reads what is stored',
  open: (spec) => {
    const file = attachFile(spec);
    return {
      batch(batch) {
        for (const { memory, from, to, place } of piecesOf(batch)) {
          const into = memory.subarray(from, to);
          // A store may end inside its last cluster; the rest of that cluster reads as zeros.
          into.fill(0, file.read(into, place));
        }
        if (batch.has(Kind.partial)) completeParts(batch);
      },
    };
  },
});
