// Reads what a full scan has to read, and does nothing with it: the data ranges of an image, and the tables of a
// store's latest snapshot. A program of its own: node read-data.js IMAGE STORE

import fs from 'node:fs';
import { dataExtents, KiB, openDigester, pageBuffer } from '../../disk/index.js';
import { DigestReader, type OwnSnapshot, offsetOf, Store } from '../../qcow2/index.js';

/** As much as stays in a processor's cache. */
const PIECE_BYTES = 512 * KiB;

const readImage = (path: string): void => {
  const fd = fs.openSync(path, 'r');
  const piece = pageBuffer(PIECE_BYTES);
  const end = fs.fstatSync(fd).size;
  for (const extent of dataExtents(fd, { start: 0, end })) {
    for (let at = extent.start; at < extent.end; at += PIECE_BYTES) {
      fs.readSync(fd, piece, 0, Math.min(PIECE_BYTES, extent.end - at), at);
    }
  }
  fs.closeSync(fd);
};

const readTables = (path: string): void => {
  const store = Store.open(path, 'r');
  const snapshot = store.snapshots.at(-1);
  if (!store.facts || !snapshot?.record) throw new Error(`${path} holds no snapshot of nvsnap`);
  const l1 = store.l1(snapshot.entry);
  for (let i = 0; i < l1.length; i += 1) {
    const offset = offsetOf(l1.hi(i), l1.lo(i));
    if (offset !== 0) store.l2(offset);
  }
  const digester = openDigester({ algorithm: store.facts.digest, seed: store.facts.seed });
  const digests = new DigestReader(store, snapshot as OwnSnapshot, digester);
  for (const _ of digests.dataRuns(0, store.geometry.clusters(snapshot.record.imageSize)));
  store.file.close();
};

const [image, store] = process.argv.slice(2);
if (image === undefined || store === undefined) throw new Error('IMAGE and STORE are needed');
readImage(image);
readTables(store);
