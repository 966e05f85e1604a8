// soft-dirty:PID: the kernel marks each page of a process that is written to (Documentation/admin-guide/mm/
// soft-dirty.rst). The marks of the process that has the image mapped, as a virtual machine has it, say what changed.
//
// It is believed only where it can be proven that no mark was lost and that nobody writes without leaving one:
//
//     self-test.ts   the kernel tracks at all         others.ts   nobody else writes
//     ground.ts      no mark went with its entry      canary.ts   nobody else clears
//     process.ts     it is the same process           stop.ts     nothing is written while the line is drawn
//
// Otherwise it says why not, and all is read.
//
// All of that is loaded when a line is drawn: no other command pays for it.

import { errnoOf, Fault, fault, reasonOf } from '../disk/index.js';
import type { SoftDirtyOptions } from './soft/epoch.js';
import type { DirtySource } from './source.js';
import type { SourceKind, SourceSpec } from './spec.js';
import { unsuitable } from './tracker-file.js';

const NAME = 'soft-dirty';

/** Faults of the system while a process is looked at, in words; the others as they are. */
const inWords = (error: unknown, pid: number): unknown => {
  if (error instanceof Fault) return error;
  const code = errnoOf(error);
  if (code === 'EACCES' || code === 'EPERM') {
    return fault('dirty-forbidden', { source: NAME, pid }, error);
  }
  if (code === 'ENOENT' || code === 'ESRCH')
    return unsuitable(NAME, `process ${pid} has ended`, error);
  return unsuitable(NAME, reasonOf(error), error);
};

/** What changed in the memory of a process that has the image mapped. */
export const softDirtySource = (options: SoftDirtyOptions): DirtySource => ({
  name: NAME,
  certainty: 'superset',
  begin: async (image, since) => {
    try {
      const { begin } = await import('./soft/epoch.js');
      return begin(options, image, since);
    } catch (error) {
      throw inWords(error, options.pid);
    }
  },
});

const pidOf = ({ name, argument = '' }: SourceSpec): number => {
  if (/^[1-9]\d{0,9}$/.test(argument)) return Number(argument);
  throw unsuitable(name, `${JSON.stringify(argument)} is not a process id`);
};

const aloneOf = ({ name, values }: SourceSpec): boolean => {
  const text = values.get('alone') ?? 'no';
  if (text === 'yes' || text === 'no') return text === 'yes';
  throw unsuitable(name, `alone=${text} is neither yes nor no`);
};

export const softDirtyKind: SourceKind = {
  name: NAME,
  usage: 'soft-dirty:PID[,alone=yes]',
  argument: 'needed',
  keys: ['alone'],
  open: (spec) => softDirtySource({ pid: pidOf(spec), alone: aloneOf(spec) }),
};
