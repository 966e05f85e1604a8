// One take, batch by batch: when which stage worked on which.

import { createEmitter, take } from '../../snapshot/index.js';
import { checkSnapshot, FIRST_TAG, STORE } from '../commands/stores.js';
import type { Job } from '../job.js';
import { settle } from '../measure/files.js';
import { bottleneck } from '../report/words.js';
import { type Result, resultOf, type Span } from '../result.js';

/** A timeline of more batches shows nothing any more. */
const MOST_SPANS = 4000;

export const timeline = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const subject = await job.subject(options.size);
  settle(job, subject.path);
  const store = scratch.path(STORE);
  scratch.drop(STORE);
  const events = createEmitter();
  const spans: Span[] = [];
  const began = performance.now();
  events.on('batch', ({ stage, offset, endedMs, workMs }) => {
    if (spans.length === MOST_SPANS) return;
    const to = endedMs - began;
    spans.push({ stage, offset, from: to - workMs, to });
  });
  const { elapsedMs, stages } = await take({
    image: subject.path,
    store,
    tag: FIRST_TAG,
    events,
  });
  const digest = await checkSnapshot(job, subject.path, store, FIRST_TAG);
  scratch.drop(STORE);
  return resultOf(
    { level: 'pipeline', case: 'timeline' },
    {
      title: 'a first take in a process that runs already',
      laps: [{ name: 'nvsnap', milliseconds: [elapsedMs], work: subject.size, made: undefined }],
      verified: ['nvsnap'],
      digest,
      spans,
      insight: { elapsedMs, stages, words: bottleneck(elapsedMs, stages) },
    },
  );
};
