// What is refused before a take begins.

import fs from 'node:fs';
import { Fault, fault } from '../disk/index.js';
import { type CodecName, type Snapshot, type Store, shownSnapshot } from '../qcow2/index.js';
import { LEVELS } from '../stages/index.js';
import { DEDUPS, type Dedup } from './draft.js';
import { LATEST, NONE, usableSnapshot } from './names.js';

/**
 * The snapshot that a take compares with; undefined for none. "latest" is the latest that nvsnap took, if there is
 * one; any other may be without a record, and is then to be adopted first.
 */
export const chooseParent = (store: Store, wanted: string): Snapshot | undefined => {
  if (wanted === NONE || (wanted === LATEST && store.snapshots.length === 0)) return undefined;
  const parent = usableSnapshot(store, wanted);
  if (parent.record || wanted !== LATEST) return parent;
  return store.snapshots.findLast(({ record, damage }) => record && !damage) ?? parent;
};

/** Refuses when another program has changed the active state and kept it in no snapshot. */
export const checkActive = (store: Store): void => {
  const active = store.activeL1();
  if (active.isEmpty() || shownSnapshot(store, active)) return;
  throw fault('store-changed', { path: store.path });
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

/** Callers of the library may not be typed. */
export const checkDedup = (dedup: Dedup | undefined): void => {
  if (dedup === undefined || DEDUPS.includes(dedup)) return;
  throw fault('usage', {
    problem: `The dedup ${JSON.stringify(dedup)} is not known.`,
    advice: `Choose ${DEDUPS.join(' or ')}.`,
  });
};
