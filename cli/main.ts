#!/usr/bin/env node
// The nvsnap command. Each command's own file is loaded only when it is called.

import { runCli } from './program.js';

process.exitCode = await runCli(process.argv.slice(2));
// Standard input may still be open for reading in a thread of libuv; nothing is left to wait for.
process.exit();
