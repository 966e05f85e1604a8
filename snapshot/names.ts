// Tags, and how a person names a snapshot: by tag, by id ("#3"), by the beginning of its uuid, or as
// "latest".

import { fault } from '../disk/index.js';
import { MAX_TAG_BYTES, type Snapshot, type Store } from '../qcow2/index.js';

export const LATEST = 'latest';
export const NONE = 'none';
/** Fewer characters of a uuid than this are not looked up. */
const MIN_UUID_PREFIX = 4;
const RESERVED: ReadonlySet<string> = new Set([LATEST, NONE]);

/** Refuses a tag that qemu-img, or a person, would confuse with something else. */
export const checkTag = (store: Store | undefined, tag: string): void => {
  const refuse = (reason: string): never => {
    throw fault('tag-invalid', { tag, reason });
  };
  if (tag === '') refuse('it is empty');
  if (Buffer.byteLength(tag) > MAX_TAG_BYTES) refuse(`it is longer than ${MAX_TAG_BYTES} bytes`);
  if (/^\d+$/.test(tag)) refuse('qemu-img takes a number for a snapshot id');
  if (tag.startsWith('#')) refuse('"#" begins an id');
  if (RESERVED.has(tag)) refuse('the word has a meaning of its own');
  if (/\p{Cc}/u.test(tag)) refuse('it holds control characters');
  // UTF-8 has no bytes for it: another tag would be written, which the record's checksum is not over.
  if (/\p{Cs}/u.test(tag)) refuse('it holds half a character');
  if (store?.snapshots.some(({ entry }) => entry.tag === tag)) {
    throw fault('tag-taken', { tag, store: store.path });
  }
};

/** A tag from the time, as "2026-11-23T10:15:00Z"; with a counter where that is taken. */
export const tagFromTime = (store: Store | undefined, now: Date): string => {
  const base = `${now.toISOString().slice(0, 19)}Z`;
  const taken = new Set(store?.snapshots.map(({ entry }) => entry.tag));
  for (let n = 1; ; n += 1) {
    const tag = n === 1 ? base : `${base}-${n}`;
    if (!taken.has(tag)) return tag;
  }
};

/** Ids that are counted: another program may have written any text, or a number that nothing can be added to. */
const NUMBER = /^\d{1,15}$/;

/** The next free id: one more than the largest number in use. */
export const nextId = (store: Store): string => {
  const ids = new Set(store.snapshots.map(({ entry }) => entry.id));
  let next = 1;
  for (const id of ids) if (NUMBER.test(id)) next = Math.max(next, Number(id) + 1);
  while (ids.has(String(next))) next += 1;
  return String(next);
};

const knownTags = (store: Store): string => {
  const tags = store.snapshots.map(({ entry }) => entry.tag);
  return tags.length > 8 ? `… ${tags.slice(-8).join(', ')}` : tags.join(', ');
};

/** The snapshot that `wanted` names, for its content: refused when its record is damaged. */
export const usableSnapshot = (store: Store, wanted: string): Snapshot => {
  const snapshot = findSnapshot(store, wanted);
  if (snapshot.damage) throw snapshot.damage();
  return snapshot;
};

/** The snapshots that are asked for, oldest first; all when none is. Refused when the record of one is damaged. */
export const usableSnapshots = (store: Store, asked: readonly string[]): readonly Snapshot[] => {
  const wanted = new Set(asked.map((name) => usableSnapshot(store, name)));
  if (asked.length > 0) return store.snapshots.filter((snapshot) => wanted.has(snapshot));
  for (const { damage } of store.snapshots) if (damage) throw damage();
  return store.snapshots;
};

/** Refuses snapshots of which two have one uuid: what is looked up by it may be the other one. */
export const checkUuids = ({ path }: Store, snapshots: readonly Snapshot[]): void => {
  const tags = new Map<string, string>();
  for (const { entry, record } of snapshots) {
    if (!record) continue;
    const other = tags.get(record.uuid);
    if (other !== undefined) {
      const [one, two] = [other, entry.tag].map((tag) => JSON.stringify(tag));
      const problem = `the snapshots ${one} and ${two} have the same uuid`;
      throw fault('store-damaged', { path, problem });
    }
    tags.set(record.uuid, entry.tag);
  }
};

/** Refuses a snapshot that another program has given a name which no tag can be: it is not UTF-8. */
export const checkNameable = ({ path }: Store, { entry }: Snapshot): void => {
  if (!entry.rawNames) return;
  const feature = `a snapshot name that is not UTF-8 (${JSON.stringify(entry.tag.slice(0, 40))})`;
  throw fault('store-unsupported', { path, feature });
};

/** The snapshots with a uuid: one, unless the store is damaged. */
export const withUuid = (store: Store, uuid: string): readonly Snapshot[] =>
  store.snapshots.filter(({ record }) => record?.uuid === uuid);

/** Finds the snapshot that `wanted` names, or says what there is. */
export const findSnapshot = (store: Store, wanted: string): Snapshot => {
  const { snapshots, path } = store;
  const unknown = (): never => {
    throw fault('snapshot-unknown', { wanted, store: path, known: knownTags(store) });
  };
  if (wanted === LATEST) return snapshots.at(-1) ?? unknown();
  const ambiguous = (matches: string): never => {
    throw fault('snapshot-ambiguous', { wanted, store: path, matches });
  };
  if (wanted.startsWith('#')) {
    const same = snapshots.filter(({ entry }) => entry.id === wanted.slice(1));
    if (same.length > 1) ambiguous(same.map(({ entry }) => JSON.stringify(entry.tag)).join(', '));
    return same[0] ?? unknown();
  }
  const tagged = snapshots.filter(({ entry }) => entry.tag === wanted);
  const matches =
    tagged.length > 0 || wanted.length < MIN_UUID_PREFIX
      ? tagged
      : snapshots.filter(({ record }) => record?.uuid.startsWith(wanted.toLowerCase()));
  if (matches.length > 1) {
    ambiguous(matches.map(({ entry }) => `#${entry.id}`).join(', '));
  }
  return matches[0] ?? unknown();
};
