// Does one take, restore or bulk run in a process of its own and prints how much memory that process took.
// The job is the only argument, as JSON; the answer is one line of JSON.

import { createBulkEmitter, exitCodeOf, readJobs, runBulk } from '../../bulk/index.js';
import { createEmitter, restore, take } from '../../snapshot/index.js';
import type { FootprintJob, MemorySample } from './footprint.js';
import { peakMemory } from './peak.js';

const job = JSON.parse(process.argv[2] ?? '') as FootprintJob;
const samples: MemorySample[] = [];
let readBytes: number | undefined;
const sample = ({ doneBytes }: { readonly doneBytes: number }): void => {
  samples.push({ doneBytes, rss: process.memoryUsage.rss() });
};
if (job.verb === 'bulk') {
  const events = createBulkEmitter();
  events.on('progress', sample);
  const result = await runBulk(readJobs(job.jobs), { events });
  if (exitCodeOf(result) !== 0) throw new Error(JSON.stringify(result.jobs));
} else {
  const events = createEmitter();
  events.on('progress', sample);
  if (job.verb === 'take') ({ readBytes } = await take({ ...job.options, events }));
  else await restore({ ...job.options, events });
}
// ru_maxrss may be higher than the peak: it keeps that of the process that started this one.
const maxRss = process.resourceUsage().maxRSS * 1024;
console.log(JSON.stringify({ peak: peakMemory(), maxRss, readBytes, samples }));
