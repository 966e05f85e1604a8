// The examples under the examiner, with what each needs; under Node's own test runner.

import assert from 'node:assert/strict';
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

const ranges = join(scratch, 'ranges');
fs.writeFileSync(ranges, '4096 8192\n0x10000 100\n');
const to = join(scratch, 'to');

/** What each is given, so that it has something to do in a trial. */
const EXAMPLES: Readonly<Record<string, StageRequest['options']>> = {
  'aes-gcm.js': { key },
  'brotli.js': { quality: 2 },
  'entropy.js': {},
  // So many calls are not made in a trial.
  'fault.js': { at: 1_000_000 },
  'free-pages.js': { ranges },
  'mask.js': { text: 'request', by: '58' },
  'tee.js': { to },
  'throttle.js': { rate: '10G' },
};

/** tee begins a new file. */
const prepare = (): void => fs.rmSync(to, { force: true });

for (const [name, options] of Object.entries(EXAMPLES)) {
  const request = use(join(examples, name), options);
  test(name, { timeout: 180_000 }, (t) => stageContract(t, request, { prepare }));
}

test('no example of a stage is left out', () => {
  const files = fs.readdirSync(examples).filter((file) => file.endsWith('.js'));
  // Sources have an examiner of their own.
  const ofStages = files.filter((file) => !file.startsWith('dirty-'));
  assert.deepEqual(Object.keys(EXAMPLES), ofStages.toSorted());
});
