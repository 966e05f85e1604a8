// Runs a verb in a process of its own in which every call is counted.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type Kind = 'read' | 'write' | 'writeback' | 'sync' | 'copy' | 'message';
export interface Count {
  readonly calls: number;
  readonly bytes: number;
}
export type Counts = Readonly<Record<Kind, Count>>;

const HOOK = new URL('./counting.js', import.meta.url).href;
const CHILD = fileURLToPath(new URL('./counted-child.js', import.meta.url));

/** Runs one verb of the library and counts what it did, start-up included; `stages` have their threads from the start. */
export const counted = (
  folder: string,
  verb: string,
  options: Record<string, unknown>,
  stages: readonly string[] = [],
): Counts => {
  const log = join(folder, 'counts');
  fs.rmSync(log, { force: true });
  const words = ['--import', HOOK, CHILD, verb, JSON.stringify(options), ...stages];
  const { status, stderr } = spawnSync(process.execPath, words, {
    encoding: 'utf8',
    env: { ...process.env, NVSNAP_TEST_COUNTS: log },
  });
  if (status !== 0) throw new Error(`${verb} ended with ${status}: ${stderr}`);
  const counts: Record<Kind, { calls: number; bytes: number }> = {
    read: { calls: 0, bytes: 0 },
    write: { calls: 0, bytes: 0 },
    writeback: { calls: 0, bytes: 0 },
    sync: { calls: 0, bytes: 0 },
    copy: { calls: 0, bytes: 0 },
    message: { calls: 0, bytes: 0 },
  };
  for (const line of fs.readFileSync(log, 'utf8').trim().split('\n')) {
    const [kind, bytes] = line.split(' ') as [Kind, string];
    counts[kind].calls += 1;
    counts[kind].bytes += Number(bytes);
  }
  return counts;
};
