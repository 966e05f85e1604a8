// Makes what people run: a few files, in one folder, of the hundred modules that tsc has checked. Node
// spends about a millisecond on every module it loads, in the main thread and again in every worker.
//
//     dist/run/nvsnap.js     the command
//     dist/run/index.js      the library
//     dist/run/bulk.js       bulk runs, for the library
//     dist/run/vm.js         live machines, for the library
//     dist/run/watchdog.js   what lets a machine go on when nobody else does
//     dist/run/stage.js      the door for stages
//     dist/run/source.js     the contract of dirty sources
//     dist/run/examine.js    the examiners of stages and dirty sources
//     dist/run/watched.js    what stages are examined in, in their threads
//     dist/run/worker.js     what pools start, and one file per stage beside it
//     dist/run/resolve.js    what Node's loader is told for modules of users
//     dist/run/report-page.js   the script of the benchmark's report, and other files that the benchmark starts
//
// All of them lie side by side, as a module and what it finds by URL lie side by side in the sources.

import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Metafile } from 'esbuild';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The stages: every module of their room but the door and what is not a stage by itself. */
const stages = readdirSync(`${root}stages`)
  .filter((file) => file.endsWith('.ts') && file !== 'index.ts')
  .map((file) => basename(file, '.ts'));

const { dependencies } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
  dependencies: Record<string, string>;
};

/** Of many modules each: loading them takes longer than anything else that the command does before its work. */
const INLINED = ['commander', 'yaml', 'zod'].filter((name) => name in dependencies);
const REQUIRE =
  "import { createRequire as nvsnapRequire } from 'node:module'; const require = nvsnapRequire(import.meta.url);";

const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: {
    nvsnap: 'cli/main.ts',
    index: 'snapshot/index.ts',
    bulk: 'bulk/index.ts',
    vm: 'vm/index.ts',
    watchdog: 'vm/watchdog.ts',
    stage: 'pipeline/index.ts',
    source: 'dirty/source.ts',
    examine: 'examine/index.ts',
    watched: 'examine/watched.ts',
    worker: 'pipeline/worker.ts',
    resolve: 'stages/plug/resolve.ts',
    // What the benchmark finds by URL.
    pass: 'bench/pipeline/pass.ts',
    fused: 'bench/pipeline/fused.ts',
    mapper: 'bench/commands/mapper.ts',
    'limit-thread': 'bench/measure/limit-thread.ts',
    'read-data': 'bench/scale/read-data.ts',
    ...Object.fromEntries(stages.map((name) => [name, `stages/${name}.ts`])),
  },
  outdir: 'dist/run',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  // What is needed to read the command line and jobs comes along; everything else is loaded from node_modules.
  external: Object.keys(dependencies).filter((name) => !INLINED.includes(name)),
  // commander is CommonJS and asks for Node's modules by require.
  banner: { js: REQUIRE },
  metafile: true,
  logLevel: 'warning',
});

/** The script of the benchmark's HTML report, with the library that draws its plots: for browsers. */
const page = await build({
  absWorkingDir: root,
  entryPoints: { 'report-page': 'bench/report/page.ts' },
  outdir: 'dist/run',
  bundle: true,
  minify: true,
  format: 'iife',
  target: 'es2022',
  metafile: true,
  logLevel: 'warning',
});

/** The packages whose files went into a bundle. */
const packagesIn = ({ inputs }: Metafile): string[] => {
  const names = Object.keys(inputs).map(
    (path) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1],
  );
  return [...new Set(names)].filter((name) => name !== undefined).sort();
};

const licenceOf = (name: string): string => {
  const folder = `${root}node_modules/${name}`;
  const file = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file));
  if (file === undefined) throw new Error(`${name} has no licence to go with it`);
  return readFileSync(`${folder}/${file}`, 'utf8');
};

// Their licences ask to go with them; those of what draws plots, a score of parts, are in one file.
for (const name of packagesIn(metafile)) {
  writeFileSync(`${root}dist/run/${name}.LICENSE`, licenceOf(name));
}
const drawing = packagesIn(page.metafile).map((name) => `${name}\n\n${licenceOf(name)}`);
writeFileSync(`${root}dist/run/report-page.LICENSE`, drawing.join('\n\n'));

// Chunks are named by their content: those of an earlier build stay until somebody removes them.
const outputs = new Set([...Object.keys(metafile.outputs), ...Object.keys(page.metafile.outputs)]);
for (const file of readdirSync(`${root}dist/run`)) {
  if (!file.endsWith('.LICENSE') && !outputs.has(`dist/run/${file}`))
    rmSync(`${root}dist/run/${file}`);
}
