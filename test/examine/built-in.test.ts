// The engine's own stages under the examiner of users' stages; and what they may import: no more than a user's.

import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import ts from 'typescript';
import { examineStage } from '../../examine/stage.js';
import { BUILT_IN } from './built-in.js';

t.setTimeout(300_000);

for (const subject of BUILT_IN) await examineStage(t, subject);

const house = fileURLToPath(new URL('../../../', import.meta.url));

/** What a module imports of this project, as written, following its own room's files. */
const importsOf = (path: string, seen = new Set<string>()): string[] => {
  if (seen.has(path)) return [];
  seen.add(path);
  const { importedFiles } = ts.preProcessFile(fs.readFileSync(`${house}${path}`, 'utf8'));
  return importedFiles.flatMap(({ fileName }) => {
    if (!fileName.startsWith('.')) return [];
    const at = new URL(fileName, `file:///${path}`).pathname.slice(1);
    return at.startsWith('stages/') ? importsOf(at.replace(/\.js$/, '.ts'), seen) : [at];
  });
};

t.test('built-in stages import the public entry for stages, and what does their I/O', async (t) => {
  const { exports } = JSON.parse(fs.readFileSync(`${house}package.json`, 'utf8')) as {
    exports: { './stage': { types: string } };
  };
  const entry = exports['./stage'].types.replace('./dist/', '').replace(/\.d\.ts$/, '.js');
  for (const { name } of [...BUILT_IN, { name: 'compress' }, { name: 'decode' }]) {
    const path = `stages/${name}.ts`;
    if (!fs.existsSync(`${house}${path}`)) continue;
    const imports = new Set(importsOf(path));
    t.ok(imports.has(entry), `${name} is written against ${entry}`);
    imports.delete(entry);
    imports.delete('disk/index.js');
    t.same([...imports], [], `${name} imports nothing else`);
  }
});
