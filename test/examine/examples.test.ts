// The examples under the examiner, with what each needs; under Node's own test runner.

import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type StageRequest, stageContract, use } from '../../examine/index.js';

const examples = fileURLToPath(new URL('../../../examples', import.meta.url));
const scratch = fs.mkdtempSync(join(tmpdir(), 'nvsnap-test-'));
after(() => fs.rmSync(scratch, { recursive: true }));
const key = join(scratch, 'key');
fs.writeFileSync(key, randomBytes(32).toString('hex'));

const example = (name: string, options?: StageRequest['options']): StageRequest =>
  use(join(examples, name), options);

const EXAMPLES: readonly StageRequest[] = [
  example('entropy.js'),
  example('aes-gcm.js', { key }),
  // So many calls are not made in a trial.
  example('fault.js', { at: 1_000_000 }),
];

for (const request of EXAMPLES) {
  test(request.module, { timeout: 180_000 }, (t) => stageContract(t, request));
}
