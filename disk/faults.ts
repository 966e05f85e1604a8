// Everything that can go wrong, in one catalogue: a literal code, typed details, one sentence of
// what happened and one of what to do. A fault is data, so it survives a hop between threads as
// { code, details } and is said in the same words on the other side.

import { type Saying, say } from './saying.js';
import { formatSize, formatSizeDown, formatSizeUp } from './units.js';
import { VM_SAYINGS } from './vm-faults.js';

const at = (offset: number): string => `offset ${offset} (0x${offset.toString(16)})`;

const CATALOGUE = {
  // what the caller asked for
  usage: (d: { problem: string; advice: string }) => say(d.problem, d.advice),
  'tag-invalid': (d: { tag: string; reason: string }) =>
    say(
      `The tag ${JSON.stringify(d.tag)} cannot be used: ${d.reason}.`,
      'Choose a tag of 1 to 255 bytes with at least one character that is not a digit.',
    ),
  'tag-taken': (d: { tag: string; store: string }) =>
    say(
      `${d.store} already has a snapshot tagged ${JSON.stringify(d.tag)}.`,
      'Choose another --tag, or leave it out to get one made from the time.',
    ),
  'snapshot-unknown': (d: { wanted: string; store: string; known: string }) =>
    say(
      `${d.store} has no snapshot ${JSON.stringify(d.wanted)}.`,
      d.known === '' ? 'The store holds no snapshot yet.' : `It holds: ${d.known}.`,
    ),
  'snapshot-ambiguous': (d: { wanted: string; store: string; matches: string }) =>
    say(
      `${JSON.stringify(d.wanted)} names more than one snapshot of ${d.store}: ${d.matches}.`,
      d.wanted.startsWith('#')
        ? 'Name it by its tag or uuid; a store made with "nvsnap convert" gives each an id of its own.'
        : 'Name it by its id, as in "#3".',
    ),
  // the image
  'image-missing': (d: { path: string }) =>
    say(`The image ${d.path} does not exist.`, 'Check the path.'),
  'image-unsuitable': (d: { path: string; kind: string }) =>
    say(
      `The image ${d.path} is ${d.kind}, not a regular file or block device.`,
      'Name the NVDIMM backing file, a block device, or "-" for standard input.',
    ),
  'image-unreadable': (d: { path: string; reason: string }) =>
    say(`The image ${d.path} cannot be opened: ${d.reason}.`, 'Run as a user who may read it.'),
  'image-shrank': (d: { path: string; expected: number; got: number }) =>
    say(
      `The image ${d.path} became shorter while it was read: ${d.expected} bytes expected, ${d.got} found.`,
      'Nothing was saved; take the snapshot again when the image keeps its size.',
    ),
  'image-resized': (d: { path: string; expected: number; got: number }) =>
    say(
      `The image ${d.path} changed its length in the moment the take began: ${d.expected} bytes expected, ${d.got} found.`,
      'Nothing was saved; take the snapshot again.',
    ),
  'input-short': (d: { expected: number; got: number }) =>
    say(
      `Standard input ended after ${d.got} of the ${d.expected} bytes that --size announced.`,
      'Nothing was saved; give the exact size.',
    ),
  'input-long': (d: { expected: number }) =>
    say(
      `Standard input holds more than the ${d.expected} bytes that --size announced.`,
      'Nothing was saved; give the exact size.',
    ),
  'image-is-store': (d: { path: string }) =>
    say(`${d.path} is both the image and the store.`, 'Name two different files.'),
  'image-other': (d: {
    image: string;
    store: string;
    made: string;
    size: number;
    parentSize: number;
  }) =>
    say(
      `${d.store} holds snapshots of another image (${d.made}, ${d.parentSize} bytes), and nothing sampled from ${d.image} (${d.size} bytes) is in them.`,
      'Use a store of its own for each image; if it really is the same image, add --other-image.',
    ),
  // dirty sources
  'dirty-unsuitable': (d: { source: string; problem: string }) =>
    say(
      `The dirty source ${d.source} cannot be used: ${d.problem}.`,
      'Correct it, or leave out --dirty to have the whole image read.',
    ),
  'changes-unsuitable': (d: { path: string; problem: string }) =>
    say(
      `The changes in ${d.path} cannot be used: ${d.problem}.`,
      'Take such files in the order in which they were written, each once, on the snapshot that it counts from.',
    ),
  'dirty-forbidden': (d: { source: string; pid: number }) =>
    say(
      `The dirty source ${d.source} may not look at process ${d.pid}: permission denied.`,
      'Run as root, or as the user of that process with CAP_SYS_PTRACE.',
    ),
  'dirty-busy': (d: { source: string; path: string }) =>
    say(
      `The dirty source ${d.source} is in use by another take, which holds ${d.path}.`,
      'Wait until it is done and try again.',
    ),
  // the store as a file
  'store-missing': (d: { path: string }) =>
    say(
      `The store ${d.path} does not exist.`,
      'Check the path, or make it with "nvsnap take IMAGE STORE".',
    ),
  'locks-missing': (d: { path: string; reason: string }) =>
    say(
      `${d.path} cannot be locked: ${d.reason}.`,
      'Keep it on a file system that has locks, or mount this one with them.',
    ),
  'store-unusable': (d: { path: string; reason: string }) =>
    say(
      `The store ${d.path} cannot be opened: ${d.reason}.`,
      'Check the path and its permissions.',
    ),
  'store-not-qcow2': (d: { path: string }) =>
    say(`${d.path} is not a qcow2 file.`, 'Name a store made by nvsnap; the file was not touched.'),
  'store-foreign': (d: { path: string }) =>
    say(
      `${d.path} is a qcow2 file that nvsnap did not make.`,
      'Make a store of it with "nvsnap convert", which keeps its snapshots, or take into a new one.',
    ),
  'store-unadoptable': (d: { path: string; reason: string }) =>
    say(
      `${d.path} is a qcow2 file that nvsnap did not make, and cannot become a store as it is: ${d.reason}.`,
      'Make a store of it with "nvsnap convert", which keeps its snapshots; "qemu-img amend" changes versions and refcounts.',
    ),
  'store-unsupported': (d: { path: string; feature: string }) =>
    say(
      `${d.path} uses ${d.feature}, which nvsnap does not support.`,
      'Convert it with "qemu-img convert" first; the file was not touched.',
    ),
  'store-corrupt-flag': (d: { path: string }) =>
    say(
      `${d.path} is marked corrupt by the program that last wrote it.`,
      'Look at it with "qemu-img check"; nvsnap does not write to it.',
    ),
  'store-dirty-flag': (d: { path: string }) =>
    say(
      `${d.path} was not closed cleanly by the program that last wrote it.`,
      'Run "qemu-img check -r all" on it first; nvsnap does not write to it.',
    ),
  'store-damaged': (d: { path: string; problem: string }) =>
    say(
      `The store ${d.path} is damaged: ${d.problem}.`,
      'Run "nvsnap check" on it; undamaged snapshots can still be restored.',
    ),
  'store-locked': (d: { path: string; holder: string }) =>
    say(
      `The store ${d.path} is being written by ${d.holder}.`,
      'Wait until it is done and try again.',
    ),
  'store-read': (d: { path: string; holder: string }) =>
    say(
      `The store ${d.path} is being read by ${d.holder}, which would find its snapshots gone.`,
      'Wait until it is done and try again.',
    ),
  'store-exists': (d: { path: string }) =>
    say(`The store ${d.path} was made by another process in this moment.`, 'Try again.'),
  'store-settings': (d: { path: string; setting: string; has: string; asked: string }) =>
    say(
      `The store ${d.path} was made with ${d.setting} ${d.has}, not ${d.asked}.`,
      `Leave out the option: a store keeps its ${d.setting}; or take into a new store.`,
    ),
  'store-changed': (d: { path: string }) =>
    say(
      `The current state of ${d.path} is in none of its snapshots: another program has written to it.`,
      `Keep that state with "qemu-img snapshot -c NAME ${d.path}" first.`,
    ),
  'store-full': (d: { path: string; limit: string }) =>
    say(
      `The store ${d.path} cannot take another snapshot: ${d.limit}.`,
      'Remove snapshots or begin a new store.',
    ),
  // streams
  'stream-damaged': (d: { problem: string }) =>
    say(`The stream cannot be imported: ${d.problem}.`, 'Nothing was imported; export it again.'),
  'parent-missing': (d: { store: string; wanted: string; uuid: string }) =>
    say(
      `${d.store} does not hold the snapshot ${JSON.stringify(d.wanted)} (${d.uuid}) that the stream builds on.`,
      'Import that one first, or export with another --since, or without.',
    ),
  'snapshot-present': (d: { store: string; tag: string }) =>
    say(
      `${d.store} holds the snapshot of the stream already, tagged ${JSON.stringify(d.tag)}.`,
      'There is nothing to do.',
    ),
  // bulk runs
  'jobs-unreadable': (d: { path: string; reason: string }) =>
    say(
      `The jobs file ${d.path} cannot be read: ${d.reason}.`,
      'Check the path and its permissions; docs/bulk.md shows what belongs in it.',
    ),
  'jobs-invalid': (d: {
    path: string;
    line: number;
    column: number;
    problem: string;
    advice: string;
    /** What else is wrong, as line:column: sentence. */
    others: readonly string[];
  }) => say(`${d.path}:${d.line}:${d.column}: ${d.problem}.`, d.advice),
  'jobs-watched': (d: { path: string; holder: string }) =>
    say(
      `The jobs of ${d.path} are being watched by ${d.holder}.`,
      'Stop that one first, or give the other jobs a file of their own.',
    ),
  'before-failed': (d: { group: string; command: string; how: string }) =>
    say(
      `The command before the group ${JSON.stringify(d.group)} (${d.command}) ${d.how}.`,
      'None of its images was read; run the command by hand to see why.',
    ),
  'after-failed': (d: { group: string; command: string; how: string }) =>
    say(
      `The command after the group ${JSON.stringify(d.group)} (${d.command}) ${d.how}.`,
      'The snapshots are whole; see to it by hand that the images may change again.',
    ),
  ...VM_SAYINGS,
  // writing
  'disk-full': (d: { path: string }) =>
    say(
      `No space is left to write ${d.path}.`,
      'Free some space and try again; every snapshot is as it was.',
    ),
  'io-failed': (d: { path: string; operation: string; reason: string }) =>
    say(
      `Could not ${d.operation} ${d.path}: ${d.reason}.`,
      'Check the disk; every published snapshot is as it was.',
    ),
  'output-exists': (d: { path: string }) =>
    say(`${d.path} exists already.`, 'Choose another output, or add --force to replace it.'),
  'output-unsuitable': (d: { path: string; reason: string }) =>
    say(`The output ${d.path} cannot be written: ${d.reason}.`, 'Choose another output.'),
  // the benchmark
  'bench-space': (d: { dir: string; free: number; needed: number }) =>
    say(
      `${d.dir} has ${formatSizeDown(d.free)} free, and up to ${formatSizeUp(d.needed)} are needed.`,
      'Choose another --dir, smaller images with --size and --big, or some cases with --only.',
    ),
  'bench-wrong': (d: { who: string; offset: number }) =>
    say(
      `${d.who} is disqualified: its output differs from the image at ${at(d.offset)}.`,
      'No figure of this run counts; leave the case out with --only, and report it to whoever makes the program.',
    ),
  'bench-failed': (d: { command: string; reason: string }) =>
    say(
      `${d.command} failed: ${d.reason}`,
      'Run it by hand to see more, or leave the case out with --only.',
    ),
  // the pipeline
  'stage-failed': (d: { stage: string; offset: number; reason: string }) =>
    say(
      `The stage ${d.stage} failed at image ${at(d.offset)}: ${d.reason}.`,
      'Nothing was published; run again with --debug for the details.',
    ),
  'stage-missing': (d: { path: string; stage: string; version: string; module: string }) =>
    say(
      `The store ${d.path} was written through the stage ${d.stage} (version ${d.version}, of ${d.module}), which was not given.`,
      `Name its module (${d.module}) and its options with --stage.`,
    ),
  'stage-version': (d: { path: string; stage: string; wrote: string; given: string }) =>
    say(
      `The store ${d.path} was written through version ${d.wrote} of the stage ${d.stage}, not ${d.given}.`,
      'Use that version of its module.',
    ),
  'stage-foreign': (d: { path: string; stage: string }) =>
    say(
      `The store ${d.path} was not written through the stage ${d.stage}.`,
      'Leave it out; "nvsnap convert --stage" makes a store that is, of this one.',
    ),
  'stage-broke': (d: { stage: string; offset: number; what: string }) =>
    say(
      `The stage ${d.stage} ${d.what} at image ${at(d.offset)}.`,
      'Nothing was published; docs/stages.md says what a stage may do.',
    ),
  'stage-stuck': (d: { stage: string; offset: number; seconds: number }) =>
    say(
      `The stage ${d.stage} did not answer for ${d.seconds} seconds at image ${at(d.offset)}.`,
      'Nothing was published; a stage that may take longer says so with "patience".',
    ),
  'digest-mismatch': (d: { offset: number; length: number }) =>
    say(
      `The stored data for image ${at(d.offset)}, ${formatSize(d.length)}, do not match their digest.`,
      'The store is damaged there; restore from another snapshot or copy.',
    ),
  'payload-damaged': (d: { offset: number; codec: string; reason: string }) =>
    say(
      `The ${d.codec} data for image ${at(d.offset)} cannot be decoded: ${d.reason}.`,
      'The store is damaged there; restore from another snapshot or copy.',
    ),
  cancelled: (d: { by: string }) => say(`Stopped by ${d.by}.`, 'The store is as it was before.'),
  'memory-too-small': (d: { given: number; needed: number }) =>
    say(
      `${formatSizeDown(d.given)} of memory is too little: the pipeline needs at least ${formatSizeUp(d.needed)}.`,
      'Give a larger --memory.',
    ),
} as const;

type Catalogue = typeof CATALOGUE;
export type FaultCode = keyof Catalogue;
export type FaultDetails<C extends FaultCode> = Parameters<Catalogue[C]>[0];

/** A fault as plain data, fit to cross threads and to be printed as JSON. */
export interface FaultData {
  readonly code: FaultCode;
  readonly details: Readonly<Record<string, unknown>>;
}

const USAGE: ReadonlySet<FaultCode> = new Set([
  'usage',
  'tag-invalid',
  'memory-too-small',
  'jobs-unreadable',
  'jobs-invalid',
]);
const DAMAGE: ReadonlySet<FaultCode> = new Set([
  'store-damaged',
  'digest-mismatch',
  'payload-damaged',
  'stream-damaged',
  'point-damaged',
]);

/** Names and texts come from files that anybody may have written: none may break a line or move a cursor. */
export const oneLine = (text: string): string => text.replace(/[\p{Cc}\u2028\u2029]/gu, '\uFFFD');

/** An error with a code, typed details and advice. `message` is the sentence of what happened. */
export class Fault extends Error {
  override readonly name = 'Fault';
  readonly code: FaultCode;
  readonly details: Readonly<Record<string, unknown>>;
  readonly advice: string;

  constructor(data: FaultData, cause?: unknown) {
    const words = (CATALOGUE[data.code] as (d: unknown) => Saying)(data.details);
    super(oneLine(words.what), cause === undefined ? undefined : { cause });
    this.code = data.code;
    this.details = data.details;
    this.advice = oneLine(words.advice);
  }

  /** The process exit code for it: 2 bad usage, 3 damage found, 1 anything else. */
  get exitCode(): 1 | 2 | 3 {
    if (USAGE.has(this.code)) return 2;
    return DAMAGE.has(this.code) ? 3 : 1;
  }

  toData(): FaultData {
    return { code: this.code, details: this.details };
  }
}

/** Makes a fault of the catalogue. */
export const fault = <C extends FaultCode>(
  code: C,
  details: FaultDetails<C>,
  cause?: unknown,
): Fault => new Fault({ code, details: details as Readonly<Record<string, unknown>> }, cause);

/**
 * The reason in an unknown thrown value. Of the system's errors, which Node words as "EACCES:
 * permission denied, open '/path'", only the middle: the sentence around it names the path already.
 */
export const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  return /^E[A-Z0-9]+: ([^,]+), /.exec(error.message)?.[1] ?? error.message;
};

/** The system's error code (ENOENT, …) in an unknown thrown value, if it has one. */
export const errnoOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : undefined;

/** Turns a failed write, sync or read of `path` into the fault a person can act on. */
export const ioFault = (error: unknown, path: string, operation: string): Fault => {
  if (error instanceof Fault) return error;
  const code = errnoOf(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') return fault('disk-full', { path }, error);
  return fault('io-failed', { path, operation, reason: reasonOf(error) }, error);
};
