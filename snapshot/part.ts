// Where an output is written until it is whole: OUTPUT.part-PID beside it. Its maker holds the writer's lock on it,
// which ends with the process: so what a killed one left is known, and the next that writes to OUTPUT removes it.

import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  errnoOf,
  fault,
  ioFault,
  moveToFree,
  reasonOf,
  removeAbandoned,
  syncFolder,
} from '../disk/index.js';

const SUFFIX = /^\.part-(\d+)$/;

/** True when there is another process with this number. */
const isAlive = (pid: string): boolean =>
  pid !== String(process.pid) && fs.existsSync(`/proc/${pid}`);

/** Path of this process's part of an output; removes those that dead processes left. */
export const partOf = (output: string): string => {
  const [folder, name] = [dirname(output), basename(output)];
  const pidOf = (file: string): string | undefined =>
    file.startsWith(name) ? SUFFIX.exec(file.slice(name.length))?.[1] : undefined;
  let files: string[] = [];
  try {
    files = fs.readdirSync(folder);
  } catch {
    // Who may not look into the folder may yet write in it; one that is missing is noticed next.
  }
  for (const file of files) {
    const pid = pidOf(file);
    // Between making a part and locking it a live process has no lock on it.
    if (pid !== undefined && !isAlive(pid)) removeAbandoned(join(folder, file));
  }
  return `${output}.part-${process.pid}`;
};

/** Refuses what has an output's name already, a link to nothing too, unless it may be replaced. */
export const refuseExisting = (path: string, replace: boolean): void => {
  if (replace || !fs.lstatSync(path, { throwIfNoEntry: false })) return;
  throw fault('output-exists', { path });
};

/** Gives a part the output's name, durably. Without `replace`, never over a file that appeared meanwhile. */
export const givePartItsName = (part: string, path: string, replace: boolean): void => {
  try {
    if (replace) fs.renameSync(part, path);
    else moveToFree(part, path);
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw fault('output-exists', { path }, error);
    throw fault('output-unsuitable', { path, reason: reasonOf(error) }, error);
  }
  try {
    syncFolder(path);
  } catch (error) {
    throw ioFault(error, path, 'sync');
  }
};
