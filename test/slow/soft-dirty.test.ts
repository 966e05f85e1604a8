// The source soft-dirty on a kernel that tracks: Debian's, booted under QEMU's software emulation. What is tried there
// is in test/dirty/soft-dirty-guest.ts; here each of its tests is counted.

import t from 'tap';
import { tempDir } from '../tools/files.js';
import { runGuest } from '../tools/guest.js';

const TIMEOUT_MS = 20 * 60_000;
t.setTimeout(TIMEOUT_MS + 60_000);

/** Fewer tests than these mean that some have not run. */
const TESTS = 24;

t.test('in a guest whose kernel tracks', async (t) => {
  const program = ['test/dirty/soft-dirty-guest.js'];
  const said = await runGuest({
    folder: tempDir(t),
    program,
    memoryMiB: 1536,
    timeoutMs: TIMEOUT_MS,
  });
  const results = [...said.matchAll(/^(ok|not ok) - (.*?)\s*$/gm)];
  for (const [, verdict, name] of results) t.equal(verdict, 'ok', String(name));
  for (const [, remark] of said.matchAll(/^# (.*?)\s*$/gm)) t.comment(String(remark));
  t.ok(results.length >= TESTS, `${results.length} tests have run`);
});
