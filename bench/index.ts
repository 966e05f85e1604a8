// The door of bench/: how fast each stage and the whole are on this machine, what limits it, and how it compares with
// what others take.

export {
  type BenchOptions,
  CASE_NAMES,
  CASES,
  casesOf,
  DEFAULTS,
  LEVELS,
  WITH_OWN_IMAGES,
} from './options.js';
export { type Comparison, compareRuns, describeComparison } from './report/compare.js';
export { writeHtml } from './report/html.js';
export { readRun } from './report/saved.js';
export { describe } from './report/table.js';
export { type Report, runBench } from './run.js';
export { EvolvingImage, type EvolvingOptions, isSound, type Method } from './study/evolving.js';
export type { Study, Taken } from './study/study.js';
export { describeStudy } from './study/study-table.js';
export { PATTERNS } from './workload/change.js';
export { CONTENTS, type ImageFacts, type ImageOptions, makeImage } from './workload/image.js';
export {
  counterOf,
  FIRST_BYTES,
  type Memory,
  momentOf,
  RAM_BYTES,
  SECOND_BYTES,
  SLOWLY,
  writeTinyGuest,
} from './workload/tiny-guest.js';
