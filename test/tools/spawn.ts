// Runs a program to its end without a copy of this process: fork(2), as Node does it, copies the page tables of all
// that a test has in memory, which costs more than most of what is started.

import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';

/** How one run of a program ended. */
export interface Outcome {
  /** Exit code; null when a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** More than posix_spawn_file_actions_t takes in any C library. */
const ACTIONS_BYTES = 256;

const libc = koffi.load(null);
const spawnp = libc.func(
  'int posix_spawnp(_Out_ int *pid, const char *file, void *actions, void *attributes, const char **argv, const char **envp)',
);
const waitpid = libc.func('int waitpid(int pid, _Out_ int *status, int options)');
const actionsInit = libc.func('int posix_spawn_file_actions_init(void *actions)');
const actionsDestroy = libc.func('int posix_spawn_file_actions_destroy(void *actions)');
const addDup2 = libc.func('int posix_spawn_file_actions_adddup2(void *actions, int fd, int as)');

/** A new file that goes when it is closed. */
const namelessFile = (): number => {
  const path = join(tmpdir(), `nvsnap-output-${process.pid}`);
  const fd = fs.openSync(path, 'wx+', 0o600);
  fs.unlinkSync(path);
  return fd;
};

/** Runs a program that is on the path, with nothing to read; throws when it cannot be started. */
export const runToEnd = (
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Outcome => {
  const input = fs.openSync('/dev/null', 'r');
  const outputs = [namelessFile(), namelessFile()];
  const actions = Buffer.alloc(ACTIONS_BYTES);
  actionsInit(actions);
  try {
    for (const [as, fd] of [input, ...outputs].entries()) addDup2(actions, fd, as);
    const [pid, status]: [number[], number[]] = [[0], [0]];
    const environment = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    const argv = [program, ...args, null];
    const errno = spawnp(pid, program, actions, null, argv, [...environment, null]);
    if (errno !== 0) throw new Error(`${program} could not be started: errno ${errno}`);
    if (waitpid(pid[0], status, 0) !== pid[0]) throw new Error(`${program} is lost`);
    const [stdout = '', stderr = ''] = outputs.map((fd) => {
      const text = Buffer.alloc(fs.fstatSync(fd).size);
      fs.readSync(fd, text, 0, text.length, 0);
      return text.toString();
    });
    const how = status[0] as number;
    return { status: (how & 0x7f) === 0 ? (how >> 8) & 0xff : null, stdout, stderr };
  } finally {
    actionsDestroy(actions);
    for (const fd of [input, ...outputs]) fs.closeSync(fd);
  }
};
