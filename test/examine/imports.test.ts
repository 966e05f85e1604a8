// What the engine's own stages may import: no more than a user's, and what does their I/O.

import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import ts from 'typescript';
import { BUILT_IN } from './built-in.js';

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

t.test('built-in stages are written against the public entry for stages', async (t) => {
  const { exports } = JSON.parse(fs.readFileSync(`${house}package.json`, 'utf8')) as {
    exports: { './stage': { types: string } };
  };
  const entry = exports['./stage'].types.replace('./dist/', '').replace(/\.d\.ts$/, '.js');
  t.equal(BUILT_IN.length, 9);
  for (const name of BUILT_IN) {
    const imports = new Set(importsOf(`stages/${name}.ts`));
    t.ok(imports.has(entry), `${name} imports ${entry}`);
    imports.delete(entry);
    imports.delete('disk/index.js');
    t.same([...imports], [], `${name} imports nothing else`);
  }
});
