// A take by soft-dirty that kills itself at a chosen moment while its line is drawn: PID, image, store, state folder,
// moment.

import fs from 'node:fs';
import { softDirtySource } from '../../dirty/soft-dirty.js';
import { take } from '../../snapshot/index.js';

const [pid, image = '', store = '', folder = '', moment] = process.argv.slice(2);

const die = (): void => {
  process.kill(process.pid, 'SIGKILL');
};

const { writeSync, renameSync } = fs;

fs.renameSync = (from, to) => {
  if (moment === 'before-saving') die();
  renameSync(from, to);
};

fs.writeSync = ((fd: number, data: unknown, ...rest: never[]): number => {
  const isClearing = data === '4';
  if (isClearing && moment === 'before-clearing') die();
  const result = writeSync(fd, data as string, ...rest);
  if (isClearing && moment === 'after-clearing') die();
  return result;
}) as typeof fs.writeSync;

await take({ image, store, dirty: softDirtySource({ pid: Number(pid), folder }) });
