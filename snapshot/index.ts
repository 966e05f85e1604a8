// The door of snapshot/, and the library's front door ("nvsnap").

export type {
  Changes,
  DirtySource,
  Epoch,
  Frozen,
  Since,
  Source,
  TrackedImage,
} from '../dirty/index.js';
export { type Extent, Fault, type FaultCode, type FaultData } from '../disk/index.js';
export {
  type BatchDone,
  createEmitter,
  Pools,
  type Progress,
  type RunEmitter,
  type RunEvents,
  type StageReport,
} from '../pipeline/index.js';
export type {
  ClusterCounts,
  CodecName,
  Finding,
  FindingCode,
  FindingKind,
} from '../qcow2/index.js';
export {
  type BuiltInStage,
  findStage,
  isPlugName,
  requestOf,
  type StageDescription,
  type StageRequest,
  type StageSummary,
  use,
} from '../stages/index.js';
export type { Audit } from './audit.js';
export type { AuditOptions, DirtyReport } from './candidates.js';
export { type CheckOptions, type CheckResult, check } from './check.js';
export { type CompareOptions, type CompareResult, compare } from './compare.js';
export {
  type ConvertedSnapshot,
  type ConvertOptions,
  type ConvertResult,
  convert,
} from './convert.js';
export { type DiffOptions, type DiffResult, diff } from './diff.js';
export type { Dedup } from './draft.js';
export { type ExportOptions, type ExportResult, exportSnapshot } from './export.js';
export { type ImportOptions, type ImportResult, importSnapshot } from './import.js';
export { info, list, type SnapshotInfo, type StoredStage, type StoreInfo } from './list.js';
export { checkTag } from './names.js';
export type { StageOptions } from './plugged.js';
export { applyPolicy, KEEP_RULES, type KeepPolicy, type KeepRule } from './policy.js';
export { type KeptSnapshot, type PruneOptions, type PruneResult, prune } from './prune.js';
export type { Range } from './ranges.js';
export {
  leakNotice,
  type RemovedSnapshot,
  type RemoveOptions,
  type RemoveResult,
  remove,
} from './remove.js';
export { type RestoreOptions, type RestoreResult, restore } from './restore.js';
export type { RunOptions } from './run-options.js';
export {
  checkSource,
  findSource,
  loadSource,
  SOURCE_USAGES,
  type SourceRequest,
} from './sources.js';
export {
  type Packaged,
  type SourceDescription,
  type StageList,
  stageInfo,
  stages,
} from './stage-list.js';
export { take } from './take.js';
export type { TakeOptions, TakeResult } from './take-options.js';
export { type Damage, type VerifyOptions, type VerifyResult, verify } from './verify.js';
export { VERSION } from './version.js';
