// What the examiners ask of a test runner: contexts with a `test(name, body)`, as tap's and node:test's are.

/** A test while it runs. tap takes one without assertions for skipped, so it is told that all is well. */
export interface Examination {
  pass?(message: string): unknown;
}

/** A context of a test runner. */
export interface Examiner {
  test(name: string, body: (t: Examination) => Promise<void>): unknown;
}

/** The same, whose tests may hold others. */
export interface NestingExaminer {
  test(name: string, body: (t: Examination & NestingExaminer) => Promise<void>): unknown;
}
