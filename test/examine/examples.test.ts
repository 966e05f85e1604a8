// The examples under the examiner, with what each needs.

import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { type StageRequest, stageContract, use } from '../../examine/index.js';
import { tempDir } from '../tools/files.js';

t.setTimeout(180_000);

const folder = fileURLToPath(new URL('../../../examples', import.meta.url));
const scratch = tempDir(t);
const key = join(scratch, 'key');
fs.writeFileSync(key, randomBytes(32).toString('hex'));

const example = (name: string, options?: StageRequest['options']): StageRequest =>
  use(join(folder, name), options);

/** Each in all its places. */
const EXAMPLES: readonly StageRequest[] = [
  example('entropy.js'),
  example('aes-gcm.js', { key }),
  // So many calls are not made in a trial.
  example('fault.js', { at: 1_000_000 }),
];

for (const request of EXAMPLES) await stageContract(t, request);
