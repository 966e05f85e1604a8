// The nvsnap command. Each command's own file is loaded only when it is called.

import { warmPools } from './warm.js';

const words = process.argv.slice(2);
const pools = warmPools(words);
void import('./program.js')
  .then(({ runCli }) => runCli(words, pools))
  .then((exitCode) => {
    process.exitCode = exitCode;
    // Standard input may still be open for reading in a thread of libuv; nothing is left to wait for.
    process.exit();
  });
