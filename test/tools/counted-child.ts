// Runs one verb of the library: node counted-child.js VERB OPTIONS [STAGE...], the options in JSON. Each of the stages
// has a thread from the start.

import { Pools } from '../../pipeline/index.js';
import * as library from '../../snapshot/index.js';
import { place } from '../../stages/index.js';

const [verb, options, ...stages] = process.argv.slice(2);
const verbs = library as unknown as Readonly<
  Record<string, (options: unknown) => Promise<unknown>>
>;
const pools = new Pools();
for (const stage of stages) pools.start(place(stage, 1));
await verbs[verb ?? '']?.({ ...(JSON.parse(options ?? '') as object), pools });
await pools.close();
