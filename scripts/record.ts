// Lets the command run as people run it most, on a small image, so that what V8 compiles of it is kept
// (scripts/load.ts).

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RECORD } from './load.js';

/** So little that no thread is started: what V8 compiles in threads is not kept. */
const BYTES = 4 * 2 ** 20;
const PAGE = 4096;

/** Calls `nvsnap` with words that make a store, read it and change it, in a folder that is empty. */
const useMost = (folder: string, nvsnap: (...words: string[]) => void): void => {
  const at = (file: string): string => join(folder, file);
  const [image, store, copy, bits] = [at('image'), at('store.qcow2'), at('copy'), at('bits')];
  writeFileSync(image, readFileSync(process.execPath).subarray(0, BYTES));
  nvsnap('take', image, store, '--tag', 'first');
  writeFileSync(image, 'changed', { flag: 'r+' });
  nvsnap('take', image, store, '--tag', 'next');
  for (const tag of ['unknown to the bitmap', 'known to it']) {
    writeFileSync(bits, Buffer.alloc(BYTES / PAGE / 8, 1));
    nvsnap('take', image, store, '--tag', tag, '--dirty', `bitmap:${bits}`);
  }
  truncateSync(image, BYTES - 1);
  nvsnap('take', image, store, '--tag', 'shorter');
  nvsnap('restore', store, 'first', copy);
  nvsnap('restore', store, 'next', copy, '--in-place');
  for (const verb of ['list', 'info', 'check', 'verify']) nvsnap(verb, store);
  nvsnap('compare', store, 'next', copy);
  nvsnap('diff', store, 'first', 'next');
  nvsnap('remove', store, 'next');
};

/** Fills the folder `compiled` in the bundle's, `run`. */
export const record = (run: string): void => {
  const folder = mkdtempSync(join(tmpdir(), 'nvsnap-record-'));
  try {
    useMost(folder, (...words) => {
      const { status, stderr } = spawnSync(process.execPath, [join(run, 'nvsnap.js'), ...words], {
        env: { ...process.env, [RECORD]: 'yes' },
        encoding: 'utf8',
      });
      if (status !== 0) throw new Error(`nvsnap ${words.join(' ')} failed: ${stderr}`);
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
};
