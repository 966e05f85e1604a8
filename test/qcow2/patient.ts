// Stores to be damaged: small, made by real takes, with everything in them that a check looks at. A
// patient is one file opened for damage, word by word; it finds its way with the reader it damages.

import fs from 'node:fs';
import { join } from 'node:path';
import { hostOffset, openDigester } from '../../disk/index.js';
import { DigestReader } from '../../qcow2/digests.js';
import { Refcounts } from '../../qcow2/refcounts.js';
import { Store } from '../../qcow2/store.js';
import { type EntryKind, kindOf, offsetOf } from '../../qcow2/words.js';
import { take } from '../../snapshot/index.js';
import { randomBytes } from '../tools/files.js';

/** How a store to be damaged is made. */
export interface Recipe {
  readonly clusterSize: number;
  readonly compression: 'zstd' | 'none';
}

const CLUSTERS = 48;

/** 48 clusters: a third is random, a third is text, a third is zeros. */
const firstImage = (clusterSize: number): Buffer => {
  const image = Buffer.alloc(CLUSTERS * clusterSize);
  randomBytes(16 * clusterSize, 1).copy(image);
  image.fill('the same words again and again ', 16 * clusterSize, 32 * clusterSize);
  return image;
};

/** Makes a store of three snapshots, each of which shares clusters with the one before. */
export const makeStore = async (folder: string, recipe: Recipe): Promise<string> => {
  const { clusterSize, compression } = recipe;
  const store = join(folder, `${compression}-${clusterSize}.qcow2`);
  const path = join(folder, 'image');
  const image = firstImage(clusterSize);
  const next = async (tag: string): Promise<void> => {
    fs.writeFileSync(path, image);
    await take({ image: path, store, tag, threads: 1, ...recipe });
  };
  await next('first');
  image.fill('other words ', 20 * clusterSize, 21 * clusterSize);
  randomBytes(clusterSize, 2).copy(image, 2 * clusterSize);
  await next('second');
  image.fill(0, 4 * clusterSize, 6 * clusterSize);
  randomBytes(2 * clusterSize, 3).copy(image, 40 * clusterSize);
  await next('third');
  fs.rmSync(path);
  return store;
};

export class Patient {
  readonly store: Store;
  readonly #fd: number;

  constructor(path: string) {
    this.store = Store.open(path, 'r');
    this.#fd = fs.openSync(path, 'r+');
  }

  close(): void {
    this.store.file.close();
    fs.closeSync(this.#fd);
  }

  get clusterSize(): number {
    return this.store.geometry.clusterSize;
  }

  /** The 64-bit word at a host offset. */
  word(offset: number): bigint {
    const raw = Buffer.alloc(8);
    fs.readSync(this.#fd, raw, 0, 8, offset);
    return raw.readBigUInt64BE();
  }

  setWord(offset: number, word: bigint): void {
    const raw = Buffer.alloc(8);
    raw.writeBigUInt64BE(BigInt.asUintN(64, word));
    this.write(offset, raw);
  }

  write(offset: number, raw: Uint8Array): void {
    fs.writeSync(this.#fd, raw, 0, raw.length, offset);
  }

  /** Turns over one bit: 0 is the least significant of the byte at a host offset. */
  flip(offset: number, bit = 0): void {
    const raw = Buffer.alloc(1);
    fs.readSync(this.#fd, raw, 0, 1, offset);
    this.write(offset, Buffer.of((raw[0] as number) ^ (1 << bit)));
  }

  truncate(length: number): void {
    fs.ftruncateSync(this.#fd, length);
  }

  /** Host offset of the first L2 table that the active table leads to: the newest snapshot's, too. */
  activeL2(): number {
    const l1 = this.store.activeL1();
    return offsetOf(l1.hi(0), l1.lo(0));
  }

  /** The first L2 table of the oldest snapshot, which no other shares. */
  oldL2(): number {
    const [first] = this.store.snapshots;
    if (!first) throw new Error('no snapshot');
    const l1 = this.store.l1(first.entry);
    return offsetOf(l1.hi(0), l1.lo(0));
  }

  /** Host offsets of the entries of one kind in an L2 table. */
  entries(l2: number, kind: EntryKind): number[] {
    const table = this.store.l2(hostOffset(l2));
    const all = Array.from({ length: table.length }, (_, i) => i);
    const found = all.filter((i) => kindOf(table.hi(i), table.lo(i)) === kind);
    if (found.length === 0) throw new Error(`no entry is ${kind}`);
    return found.map((i) => l2 + i * 8);
  }

  entry(l2: number, kind: EntryKind): number {
    return this.entries(l2, kind)[0] as number;
  }

  /** The host cluster that a plain entry leads to. */
  clusterOf(entry: number): number {
    const word = this.word(entry);
    return Number(word & 0x00ff_ffff_ffff_fe00n) / this.clusterSize;
  }

  /** Adds to the stored 32-bit refcount of a host cluster. */
  addRefcount(cluster: number, delta: number): void {
    const refcounts = Refcounts.load(this.store);
    const block = refcounts.blockOffsets[Math.floor(cluster / refcounts.blockEntries)] as number;
    const raw = Buffer.alloc(4);
    raw.writeUInt32BE(refcounts.get(cluster) + delta);
    this.write(block + (cluster % refcounts.blockEntries) * 4, raw);
  }

  /** A host cluster in the file that nothing uses. */
  freeCluster(): number {
    const refcounts = Refcounts.load(this.store);
    for (let c = 0; c < refcounts.end; c += 1) if (refcounts.get(c) === 0) return c;
    throw new Error('no cluster is free');
  }

  /** Host offsets of the newest snapshot's first digest cluster and first index cluster. */
  digests(): { readonly table: number; readonly index: number } {
    const { store } = this;
    const snapshot = store.snapshots.at(-1);
    if (!snapshot?.record || !store.facts) throw new Error('no digests');
    const { entry, record } = snapshot;
    const digester = openDigester({ algorithm: store.facts.digest, seed: store.facts.seed });
    const { layout } = new DigestReader(store, { entry, record }, digester);
    const l1 = store.l1(entry);
    const l2 = store.l2(offsetOf(l1.hi(record.digestL1), l1.lo(record.digestL1)));
    return {
      table: offsetOf(l2.hi(0), l2.lo(0)),
      index: offsetOf(l2.hi(layout.table), l2.lo(layout.table)),
    };
  }
}

/** Damages a copy of a store; returns its path. */
export const damaged = (store: string, damage: (patient: Patient) => void): string => {
  const copy = `${store}.damaged`;
  fs.copyFileSync(store, copy);
  const patient = new Patient(copy);
  try {
    damage(patient);
  } finally {
    patient.close();
  }
  return copy;
};
