// Streams that say what no run of nvsnap says, under seals that are right.

import { encodeEnd, encodeHead, MAGIC, Sealer, type StreamHeader } from '../../snapshot/stream.js';

/** A stream of a header, which may be anything, and no batches. */
export const forgeStream = (header: unknown): Buffer => {
  const sealer = new Sealer();
  const section = (kind: 'H' | 'E', tables: Buffer): Buffer => {
    const head = encodeHead(kind, tables.length);
    return Buffer.concat([head, tables, sealer.seal(head, tables)]);
  };
  const end = encodeEnd({ batches: 0, clusters: 0 });
  return Buffer.concat([
    MAGIC,
    section('H', Buffer.from(JSON.stringify(header))),
    section('E', end),
  ]);
};

/** The header of a stream. */
export const headerOfStream = (stream: Buffer): StreamHeader => {
  const at = MAGIC.length;
  const length = stream.readUInt32LE(at + 4);
  return JSON.parse(stream.toString('utf8', at + 8, at + 8 + length)) as StreamHeader;
};
