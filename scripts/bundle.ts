// Makes what people run: a few files, in one folder, of the hundred modules that tsc has checked. Node
// spends about a millisecond on every module it loads, in the main thread and again in every worker.
//
//     dist/run/nvsnap.js     the command
//     dist/run/index.js      the library
//     dist/run/stage.js      the door for stages
//     dist/run/examine.js    the examiner of dirty sources
//     dist/run/worker.js     what pools start, and one file per stage beside it
//
// All of them lie side by side, as a module and what it finds by URL lie side by side in the sources.

import { copyFileSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The stages: every module of their room but the door and what is not a stage by itself. */
const stages = readdirSync(`${root}stages`)
  .filter((file) => file.endsWith('.ts') && file !== 'index.ts')
  .map((file) => basename(file, '.ts'));

/** Loading it takes longer than anything else that the command does before its work. */
const INLINED = 'commander';
const REQUIRE =
  "import { createRequire as nvsnapRequire } from 'node:module'; const require = nvsnapRequire(import.meta.url);";

const { dependencies } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
  dependencies: Record<string, string>;
};

const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: {
    nvsnap: 'cli/main.ts',
    index: 'snapshot/index.ts',
    stage: 'pipeline/index.ts',
    examine: 'dirty/examine.ts',
    worker: 'pipeline/worker.ts',
    ...Object.fromEntries(stages.map((name) => [name, `stages/${name}.ts`])),
  },
  outdir: 'dist/run',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  // What is needed to read the command line comes along; everything else is loaded from node_modules.
  external: Object.keys(dependencies).filter((name) => name !== INLINED),
  // commander is CommonJS and asks for Node's modules by require.
  banner: { js: REQUIRE },
  metafile: true,
  logLevel: 'warning',
});

// Its licence asks to go with it.
const licence = `${INLINED}.LICENSE`;
copyFileSync(`${root}node_modules/${INLINED}/LICENSE`, `${root}dist/run/${licence}`);

// Chunks are named by their content: those of an earlier build stay until somebody removes them.
for (const file of readdirSync(`${root}dist/run`)) {
  if (file !== licence && !(`dist/run/${file}` in metafile.outputs))
    rmSync(`${root}dist/run/${file}`);
}
