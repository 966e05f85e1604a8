// The door of pipeline/, and the public entry for stages ("nvsnap/stage"): the stage contract, the
// slabs batches travel in, and the engine that runs a line of stages. Knows nothing of qcow2.

export {
  type BatchDone,
  createEmitter,
  type Progress,
  type RunEmitter,
  type RunEvents,
} from './events.js';
export { USUAL_PATIENCE } from './patience.js';
export { TASKS_PER_THREAD } from './pool.js';
export { Pools } from './pools.js';
export { abortFault, type Run, run } from './run.js';
export { Batch, Kind, type SlabLayout, SlabPool, slabBytes } from './slab.js';
export {
  type Desk,
  type Gap,
  type KindName,
  type Reversible,
  type Setting,
  type Stage,
  type StageThread,
  stage,
} from './stage.js';
export type { MainStep, StagePlace, StageUse, Step } from './step.js';
export type { StageReport } from './tally.js';
