// Threads may be told to end at any moment, also while they start: Node 20 aborts a process that ends a thread which
// requires an ES module. Processes, since an abort leaves no other trace.

import { fileURLToPath } from 'node:url';
import t from 'tap';
import { start } from '../tools/nvsnap.js';

t.setTimeout(300_000);

const HOUSE = fileURLToPath(new URL('../../', import.meta.url));

/** Starts threads and ends them at random moments, most of them while the threads load what they run. */
const ENDING = `
const { Pools } = await import(process.argv[1]);
for (let i = 0; i < 60; i += 1) {
  const pools = new Pools({ spare: 2 });
  await new Promise((resolve) => setTimeout(resolve, 30 + 40 * Math.random()));
  await pools.close();
}
`;

for (const door of ['pipeline/index.js', 'run/stage.js']) {
  t.test(`threads of ${door} can be ended while they start`, async (t) => {
    for (let round = 0; round < 3; round += 1) {
      const words = ['--no-warnings', '--input-type=module', '-e', ENDING, HOUSE + door];
      const { status, stderr } = await start(process.execPath, words).ended;
      t.equal(status, 0, stderr);
    }
  });
}
