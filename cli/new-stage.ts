// A stage to begin with: a file that works and changes nothing yet, and a test of it.

import fs from 'node:fs';
import { fault } from '../disk/index.js';
import { isPlugName } from '../snapshot/index.js';

export type NewStageKind = 'observer' | 'filter' | 'reversible';

const USE: Readonly<Record<NewStageKind, (name: string) => string>> = {
  observer: (name) => `// ${name}: looks at what is stored, and counts it.
//
//     nvsnap take nvdimm.img vm.qcow2 --stage ./${name}.js`,
  filter: (
    name,
  ) => `// ${name}: changes what is read before it is compared with the parent, and before it is stored.
//
//     nvsnap take nvdimm.img vm.qcow2 --stage ./${name}.js`,
  reversible: (
    name,
  ) => `// ${name}: encodes what is stored, and decodes it when it is read. A store that was made with it is read with it only.
//
//     nvsnap take nvdimm.img vm.qcow2 --stage ./${name}.js
//     nvsnap restore vm.qcow2 latest back.img --stage ./${name}.js`,
};

const DECLARATION: Readonly<Record<NewStageKind, string>> = {
  observer: `  // Where it may stand, its usual place first: here all that will be stored comes by.
  at: ['before:compress'],`,
  filter: `  // Content may be changed only here, where its digests are not taken yet.
  at: ['before:dedup'],
  changes: true,`,
  reversible: `  // A store is read only with the version that it was written with: change it with what is written.
  version: '1',
  reversible: {
    // encode makes at most so many bytes more than it is given.
    growth: 0,
    // What the store keeps of the options, as JSON, for whoever reads it; parse gets it as "kept". Never a secret.
    keeps: ({ example }) => ({ example }),
  },`,
};

const batchOf = (work: string): string => `    const part = { clusters: 0, bytes: 0 };
    return {
      // A batch is a run of clusters in the order of the image. Its bytes are lent: nothing may be kept when this returns.
      batch(batch) {
        for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
          if (batch.kinds[i] !== Kind.plain) continue;
${work}
          part.clusters += 1;
          part.bytes += bytes.length;
        }
      },

      // Once, when all batches are through: what this thread has found out, as plain data.
      flush: () => part,
    };`;

const THREAD: Readonly<Record<NewStageKind, string>> = {
  observer:
    batchOf(`          // Image bytes from batch.offset + i * clusterSize on; the image's last cluster may be short.
          const bytes = batch.content(i);`),
  filter:
    batchOf(`          // Image bytes from batch.offset + i * clusterSize on; the image's last cluster may be short.
          const bytes = batch.content(i);
          // Change them in place, as in bytes.fill(0).`),
  reversible: `    return {
      // Bytes are lent: nothing may be kept when these return. 0 leaves them as they are.
      encode: (bytes, into) => bytes.copy(into),

      // Gets what encode made, or what has become of it on the disk: trust nothing, and throw when it cannot be.
      decode: (bytes, into) => bytes.copy(into),

      // Once, when all is through.
      flush: () => ({ clusterSize }),
    };`,
};

const CONCLUSION: Readonly<Record<NewStageKind, string>> = {
  observer: `  // Once, in the end: figures and words by name, for the summary of the take.
  conclude: (parts) => ({
    clusters: parts.reduce((sum, { clusters }) => sum + clusters, 0),
    bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
  }),`,
  filter: `  // Once, in the end: figures and words by name, for the summary of the take.
  conclude: (parts) => ({
    clusters: parts.reduce((sum, { clusters }) => sum + clusters, 0),
    bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
  }),`,
  reversible: `  // Once, in the end: figures and words by name, for the summary of the take.
  conclude: (parts) => ({ threads: parts.length }),`,
};

const stageText = (name: string, kind: NewStageKind): string => `${USE[kind](name)}
//
// docs/stages.md of nvsnap has the whole contract; ${name}.test.js examines this file.

import { ${kind === 'reversible' ? 'stage' : 'Kind, stage'} } from 'nvsnap/stage';

export default stage({
  name: '${name}',
  summary: 'says in one line what it does',
  // What each option means; "nvsnap stages ./${name}.js" shows it.
  usage: { example: 'an option to begin with' },

${DECLARATION[kind]}

  // Once, before the first byte moves: makes options of "example=…", or throws an Error that says what is wrong.
  parse({ example = '', ...others }) {
    const [unknown] = Object.keys(others);
    if (unknown !== undefined) throw new Error(\`it has no option "\${unknown}"\`);
    return { example: String(example) };
  },

  // Once in every thread, with what parse returned. A long batch looks at cancelled() now and then, and stops.
  open({ example }, { clusterSize, cancelled }) {
${THREAD[kind]}
  },

${CONCLUSION[kind]}
});
`;

const testText = (
  name: string,
): string => `// Examines ${name}.js: npm install --save-dev nvsnap && node --test ${name}.test.js

import { test } from 'node:test';
import { use } from 'nvsnap';
import { stageContract } from 'nvsnap/examine';

test('${name} holds to the contract of stages', (t) =>
  stageContract(t, use(new URL('./${name}.js', import.meta.url))));
`;

/** Writes NAME.js and NAME.test.js into the working directory, never over a file; returns their names. */
export const writeNewStage = (name: string, kind: NewStageKind): readonly [string, string] => {
  if (!isPlugName(name)) {
    throw fault('usage', {
      problem: `${JSON.stringify(name)} cannot be the name of a stage.`,
      advice: 'Choose 1 to 32 lower-case letters, digits and hyphens, a letter first.',
    });
  }
  const files = [`${name}.js`, `${name}.test.js`] as const;
  const taken = files.find((file) => fs.existsSync(file));
  if (taken !== undefined) {
    throw fault('usage', {
      problem: `${taken} exists already.`,
      advice: 'Choose another name; nothing was written.',
    });
  }
  fs.writeFileSync(files[0], stageText(name, kind), { flag: 'wx' });
  fs.writeFileSync(files[1], testText(name), { flag: 'wx' });
  return files;
};
