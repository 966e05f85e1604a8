// A process as /proc shows it (proc(5)): who it is, and where it has mapped a file.

import { createHash } from 'node:crypto';
import fs from 'node:fs';

/** Which process this is, whatever its number: a later one, or another program in it, differs. */
export interface ProcessIdentity {
  /** When it was started, in clock ticks since the boot. */
  readonly started: string;
  /** What its memory looks like that only exec changes: where its stack and code begin, and the kernel's vector. */
  readonly memory: string;
}

/** One mapping: a line of /proc/PID/maps. */
export interface Mapped {
  /** First address, and one past the last. */
  readonly start: number;
  readonly end: number;
  /** As "rw-s". */
  readonly rights: string;
  /** The file's byte that is at `start`. */
  readonly offset: number;
  /** The file, as `fileKey` writes it; of none, device and inode are 0. */
  readonly file: string;
}

/** A device number as stat(2) gives it, taken apart as glibc's major() and minor() do. */
const deviceOf = (dev: bigint): string => {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn);
  const hex = (value: bigint): string => value.toString(16).padStart(2, '0');
  return `${hex(major)}:${hex(minor)}`;
};

/** Device and inode of a file as /proc/PID/maps writes them: "fe:01 131". */
export const fileKey = ({ dev, ino }: { dev: bigint; ino: bigint }): string =>
  `${deviceOf(dev)} ${ino}`;

const MAPS_LINE = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) (\S+) (\d+)/;

/** Reads the text of /proc/PID/maps. */
export const parseMaps = (text: string): Mapped[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, start, end, rights, offset, device, inode] = MAPS_LINE.exec(line) ?? [];
      if (start === undefined) throw new Error(`a line of maps reads ${JSON.stringify(line)}`);
      return {
        start: Number.parseInt(start, 16),
        end: Number.parseInt(end as string, 16),
        rights: rights as string,
        offset: Number.parseInt(offset as string, 16),
        file: `${device} ${inode}`,
      };
    });

/** All mappings of a process. */
export const mapsOf = (pid: number | string): Mapped[] =>
  parseMaps(fs.readFileSync(`/proc/${pid}/maps`, 'utf8'));

const STARTED = 22;
const START_OF_CODE = 26;
const START_OF_STACK = 28;

/** Fields of /proc/PID/stat by their numbers in proc(5); the second, a name in brackets, may hold anything. */
export const statField = (text: string, field: number): string => {
  const rest = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const value = rest[field - 3]?.trim();
  if (value === undefined) throw new Error(`stat has no field ${field}: ${text}`);
  return value;
};

/** The letter of a thread's state, as "S"; undefined when it is gone. */
export const stateOf = (pid: number, thread: number): string | undefined => {
  try {
    return statField(fs.readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8'), 3);
  } catch {
    return undefined;
  }
};

/** Who the process is; throws the system's error when that cannot be seen. */
export const identify = (pid: number): ProcessIdentity => {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  const vector = createHash('sha256')
    .update(fs.readFileSync(`/proc/${pid}/auxv`))
    .digest('hex');
  const places = [START_OF_CODE, START_OF_STACK].map((field) => statField(stat, field));
  return { started: statField(stat, STARTED), memory: [...places, vector].join(' ') };
};

/** Flags of each mapping in the text of /proc/PID/smaps, by its first address: "rd wr sh lo". */
export const parseFlags = (text: string): Map<number, ReadonlySet<string>> => {
  const flags = new Map<number, ReadonlySet<string>>();
  let start = -1;
  for (const line of text.split('\n')) {
    const head = MAPS_LINE.exec(line);
    if (head) start = Number.parseInt(head[1] as string, 16);
    else if (line.startsWith('VmFlags:'))
      flags.set(start, new Set(line.slice(8).trim().split(' ')));
  }
  return flags;
};

/** A page of `ranges` in memory of 2 MiB that is mapped as one, by the text of /proc/PID/smaps. */
export const hasHugePages = (text: string, starts: ReadonlySet<number>): boolean => {
  let inside = false;
  for (const line of text.split('\n')) {
    const head = MAPS_LINE.exec(line);
    if (head) inside = starts.has(Number.parseInt(head[1] as string, 16));
    else if (inside && /^(ShmemPmdMapped|FilePmdMapped): +[1-9]/.test(line)) return true;
  }
  return false;
};
