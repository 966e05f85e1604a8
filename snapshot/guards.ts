// What is refused before a take begins.

import fs from 'node:fs';
import { Fault, fault } from '../disk/index.js';
import {
  type CodecName,
  type OwnSnapshot,
  offsetOf,
  type Store,
  type Table,
} from '../qcow2/index.js';
import { LEVELS } from '../stages/index.js';
import { LATEST, NONE, usableSnapshot } from './names.js';
import { asOwn } from './store.js';

/** The snapshot that a take compares with; undefined for none. */
export const chooseParent = (store: Store, wanted: string): OwnSnapshot | undefined => {
  if (wanted === NONE || (wanted === LATEST && store.snapshots.length === 0)) return undefined;
  const parent = asOwn(usableSnapshot(store, wanted));
  if (parent) return parent;
  if (wanted === LATEST) {
    const own = store.snapshots.findLast(({ record, damage }) => record && !damage);
    return own && asOwn(own);
  }
  throw fault('usage', {
    problem: `The snapshot ${JSON.stringify(wanted)} was made by another program and has no digests.`,
    advice: 'Choose a parent that nvsnap took, or "none".',
  });
};

const tableOffset = (l1: Table, i: number): number => offsetOf(l1.hi(i), l1.lo(i));

/** Refuses when another program has changed the active state and kept it in no snapshot. */
export const checkActive = (store: Store): void => {
  const active = store.activeL1();
  if (active.isEmpty()) return;
  // Past the disk lies vmstate, which "qemu-img snapshot -a" takes over as it is.
  const disk = Math.min(active.length, store.geometry.l1Entries(store.header.diskSize));
  const same = store.snapshots.toReversed().some(({ entry }) => {
    const l1 = store.l1(entry);
    const entries = store.geometry.l1Entries(entry.diskSize ?? store.header.diskSize);
    for (let i = 0; i < disk; i += 1) {
      const theirs = i < entries ? tableOffset(l1, i) : 0;
      if (tableOffset(active, i) !== theirs) return false;
    }
    return true;
  });
  if (!same) throw fault('store-changed', { path: store.path });
};

export const checkLevel = (codec: CodecName, level: number | undefined): void => {
  if (level === undefined) return;
  const range = LEVELS[codec];
  if (range && Number.isInteger(level) && level >= range[0] && level <= range[1]) return;
  throw fault('usage', {
    problem: `${codec} has no level ${level}.`,
    advice: range
      ? `Choose ${range[0]} to ${range[1]}.`
      : 'Leave --level out: it has none to choose.',
  });
};

export const refuseSameFile = (image: string, store: string): void => {
  try {
    const [a, b] = [fs.statSync(image), fs.statSync(store)];
    if (a.dev === b.dev && a.ino === b.ino) throw fault('image-is-store', { path: store });
  } catch (error) {
    if (error instanceof Fault) throw error;
  }
};
