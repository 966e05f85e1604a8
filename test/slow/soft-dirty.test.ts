// The source soft-dirty on a kernel that tracks: Debian's, booted under QEMU's software emulation. What is tried there
// is in test/dirty/soft-dirty-guest.ts; here each of its tests is counted.

import t from 'tap';
import { tempDir } from '../tools/files.js';
import { runGuest } from '../tools/guest.js';

const FULL = process.env.NVSNAP_SLOW === 'full';
const TIMEOUT_MS = FULL ? 60 * 60_000 : 14 * 60_000;
t.setTimeout(TIMEOUT_MS + 60_000);

/** All tests, or those that tell the most for their time; and how many these are. */
const CHOICE = FULL
  ? { pattern: '.', tests: 23 }
  : {
      pattern:
        '^(soft-dirty: a line|killed after|two images|marks|whoever|threads|when the kernel)',
      tests: 7,
    };

t.test('in a guest whose kernel tracks', async (t) => {
  const said = await runGuest({
    folder: tempDir(t),
    program: ['test/dirty/soft-dirty-guest.js', CHOICE.pattern],
    memoryMiB: 1536,
    timeoutMs: TIMEOUT_MS,
  });
  const results = [...said.matchAll(/^(ok|not ok) - (.*?)\s*$/gm)];
  for (const [, verdict, name] of results) t.equal(verdict, 'ok', String(name));
  for (const [, remark] of said.matchAll(/^# (.*?)\s*$/gm)) t.comment(String(remark));
  t.equal(results.length, CHOICE.tests, 'all of them have run');
});
