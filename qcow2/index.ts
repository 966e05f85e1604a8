// The door of qcow2/: the format's codecs, reading a store, and changing one.

export { hasBitmaps } from './bitmaps.js';
export { type Built, type OwnSnapshot, SnapshotBuilder } from './builder.js';
export type { ClusterCounts } from './census.js';
export { type CheckReport, checkSteps, checkStore } from './check.js';
export { createStore } from './create.js';
export { DigestReader } from './digests.js';
export { type CodecName, isCodecName, isPrivate, type StoreFacts } from './extensions.js';
export type { Finding, FindingCode, FindingKind } from './findings.js';
export { Geometry, MAX_CLUSTER_BITS, MIN_NEW_CLUSTER_BITS } from './geometry.js';
export { INCOMPATIBLE } from './header.js';
export { type L2Kind, L2Table } from './l2.js';
export type { Placer } from './placer.js';
export type { SnapshotRecord } from './record.js';
export { REFCOUNT_ORDER } from './refcounts.js';
export { shownSnapshot } from './roots.js';
export type { Snapshot } from './snapshot.js';
export { MAX_TAG_BYTES, NEW_SNAPSHOT_ICOUNT, type SnapshotEntry } from './snapshots.js';
export { Store } from './store.js';
export { Table } from './table.js';
export { type NextSnapshot, Transaction } from './transaction.js';
export { isNilUuid, NIL_UUID } from './uuid.js';
export * from './words.js';
