// The door of examine/ ("nvsnap/examine"): what dirty sources and stages must hold, whoever wrote them. The examiners
// run under any test runner whose contexts have a `test(name, body)`, as tap's and node:test's do.

export { type StageRequest, use } from '../stages/index.js';
export type { Examination, Examiner, NestingExaminer } from './runner.js';
export { examineSource, type SourceSubject, type SourceWorld } from './source.js';
export { type ContractOptions, stageContract } from './stage.js';
