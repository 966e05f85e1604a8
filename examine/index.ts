// The door of examine/ ("nvsnap/examine"): what dirty sources and stages must hold, whoever wrote them.

export type { Examination, Examiner } from './runner.js';
export { examineSource, type SourceSubject, type SourceWorld } from './source.js';
