// The door of vm/ ("nvsnap/vm"): points in time of running machines.

export {
  createMachineEmitter,
  type MachineEmitter,
  type MachineEvents,
  ProgressSum,
  type Step,
} from './events.js';
export { machineRunner, prunePoints } from './job.js';
export { listPoints, type RemovePointsOptions, removePoints } from './keep.js';
export { type ListOptions, listMachine, type MachineInfo, type RegionInfo } from './list.js';
export type { Machine, OutsideDisk, Region, RegionKind } from './machine.js';
export type { Manifest } from './manifest.js';
export type { MemoryFile } from './memory-file.js';
export type { Freeze, State } from './plan.js';
export type { PointInfo } from './points.js';
export { shellLine } from './qemu-options.js';
export { type RestoredPoint, type RestorePointOptions, restorePoint } from './restore.js';
export { type ResumedPoint, type ResumeOptions, resumePoint } from './resume.js';
export { takePoint } from './take.js';
export { DEFAULT_MAX_PAUSE_MS, type PointOptions, type PointResult } from './take-options.js';
