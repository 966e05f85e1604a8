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
//     dist/run/worker.cjs    what pools start, and one file per stage beside it
//     dist/run/resolve.js    what Node's loader is told for modules of users
//     dist/run/report-page.js   the script of the benchmark's report, and other files that the benchmark starts
//     dist/run/load.js       loads the command and the workers with what V8 has compiled of them before
//     dist/run/compiled/     that
//
// All of them lie side by side, as a module and what it finds by URL lie side by side in the sources. They are CommonJS
// modules, since only of these can what was compiled be kept (docs/decisions/0036).

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Metafile, transform } from 'esbuild';
import { record } from './record.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The stages: every module of their room but the door and what is not a stage by itself. */
const stages = readdirSync(`${root}stages`)
  .filter((file) => file.endsWith('.ts') && file !== 'index.ts')
  .map((file) => basename(file, '.ts'));

const { dependencies, exports, name } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
  name?: string;
  dependencies: Record<string, string>;
  exports?: Record<string, { default: string }>;
};

/** Of many modules each: loading them takes longer than anything else that the command does before its work. */
const INLINED = ['commander', 'yaml', 'zod'].filter((name) => name in dependencies);

/** A file is begun by Node; the rest of it is loaded with what was compiled before. */
const starting = (file: string): string => `require('./load.js').load('${file}');\n`;

const { metafile, outputFiles } = await build({
  absWorkingDir: root,
  entryPoints: {
    command: 'cli/main.ts',
    index: 'snapshot/index.ts',
    bulk: 'bulk/index.ts',
    vm: 'vm/index.ts',
    watchdog: 'vm/watchdog.ts',
    stage: 'pipeline/index.ts',
    source: 'dirty/source.ts',
    examine: 'examine/index.ts',
    watched: 'examine/watched.ts',
    work: 'pipeline/work.ts',
    load: 'scripts/load.ts',
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
  metafile: true,
  write: false,
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

const run = `${root}dist/run`;
const URL_OF_FILE = "const nvsnapUrl = require('node:url').pathToFileURL(__filename).href;\n";

/** One file of the bundle as a CommonJS module; `import()` of anything goes through load.js. */
const toCommonJs = async (file: string, text: string): Promise<string> => {
  const { code } = await transform(text, {
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    // A default import of a CommonJS module is all that it exports, as in Node.
    sourcefile: file.replace(/js$/, 'mjs'),
    define: { 'import.meta.url': 'nvsnapUrl' },
  });
  const loading =
    file === 'load.js' ? code : code.replace(/\bimport\(/g, "require('./load.js').importModule(");
  return loading.includes('nvsnapUrl') ? URL_OF_FILE + loading : loading;
};

// Chunks are named by their content: those of an earlier build would stay.
for (const file of readdirSync(run)) {
  if (!file.endsWith('.LICENSE') && file !== 'report-page.js')
    rmSync(join(run, file), { recursive: true });
}
mkdirSync(join(run, 'compiled'));
const write = (file: string, text: string): void => writeFileSync(join(run, file), text);
for (const { path, text } of outputFiles) {
  const file = basename(path);
  write(file, await toCommonJs(file, text));
}
// Without what npm compiles nothing can say what is wrong but this.
write(
  'nvsnap.js',
  `#!/usr/bin/env node
try {
  ${starting('command.js')}} catch (error) {
  if (error.code !== 'NVSNAP_NOT_COMPILED') throw error;
  console.error('nvsnap: ' + error.message);
  process.exitCode = 1;
}
`,
);
write('worker.cjs', `module.exports = ${starting('work.js')}`);
// Modules of users find the doors from here as they would from the package.
const doors = Object.entries(exports ?? {}).map(([door, { default: file }]) => [
  door,
  `./${basename(file)}`,
]);
write(
  'package.json',
  `${JSON.stringify({ name, type: 'commonjs', exports: Object.fromEntries(doors) }, null, 2)}\n`,
);

record(run);
