// Runs one verb of the library: node counted-child.js VERB OPTIONS, these in JSON.

import * as library from '../../snapshot/index.js';

const [verb, options] = process.argv.slice(2);
const verbs = library as unknown as Readonly<
  Record<string, (options: unknown) => Promise<unknown>>
>;
await verbs[verb ?? '']?.(JSON.parse(options ?? ''));
