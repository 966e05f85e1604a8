// The small door through which all store I/O goes. A test opens it with a log, and then every write,
// truncate and sync (of every thread) is recorded in order: enough to replay a power cut at any point.
//
// Log record: 1 byte kind ('W' write, 'P' punch, 'T' truncate, 'S' sync), 8 bytes position (LE), 4 bytes
// length (LE), then the written bytes. A write is logged before it is done, a sync after it is done: so a
// write logged before a sync record is durable only if it was awaited before that sync began.

import fs from 'node:fs';
import { dirname } from 'node:path';
import type { Extent } from './extents.js';
import { errnoOf, ioFault } from './faults.js';
import { beginWriteback, PAGE_BYTES, punchHole } from './os.js';
import { MiB } from './units.js';

/** The unit of a file's block count, whatever the file system's own (stat(2)). */
export const BLOCK_BYTES = 512;

/** Zeros that are written at once. */
const ZERO_PIECE_BYTES = MiB;

/** So many bytes written are brought to the disk together, while more of them come. */
const WRITEBACK_BYTES = 4 * MiB;

/** What a thread needs to use a file that another thread opened; plain data. */
export interface FileSpec {
  readonly path: string;
  readonly fd: number;
  /** File descriptor of the I/O log, opened for appending. */
  readonly logFd?: number;
}

export interface File {
  readonly path: string;
  readonly spec: FileSpec;
  /** Length in bytes. */
  size(): number;
  /** Bytes on disk. */
  allocated(): number;
  /** Its type and permissions (stat(2)). */
  mode(): number;
  /** Reads until `into` is full or the file ends; returns the bytes read. */
  read(into: Uint8Array, position: number): number;
  /** Writes all of `from`. */
  write(from: Uint8Array, position: number): void;
  /** Sets the length; growth reads as zeros. */
  truncate(length: number): void;
  /** Gives `length` bytes (below 4 GiB) back to the file system; they read as zeros. False if not possible. */
  punch(position: number, length: number): boolean;
  /** Makes `length` bytes (below 4 GiB) read as zeros: punched where that is possible, else written. */
  zero(position: number, length: number): void;
  /** Resolves when everything written before the call is durable (fdatasync). */
  sync(): Promise<void>;
  close(): void;
}

/** Fills `into` from byte `position` of a file on; returns how many bytes there were. Throws Node's error of a read that fails. */
export const readAt = (fd: number, into: Uint8Array, position: number): number => {
  let done = 0;
  while (done < into.length) {
    const got = fs.readSync(fd, into, done, into.length - done, position + done);
    if (got === 0) break;
    done += got;
  }
  return done;
};

const NOWHERE: Extent = { start: Number.POSITIVE_INFINITY, end: 0 };

class PlainFile implements File {
  readonly spec: FileSpec;
  /** What this thread has written and nobody has asked to bring to the disk: how many bytes, and where they lie. */
  #fresh: Extent = NOWHERE;
  #freshBytes = 0;

  constructor(spec: FileSpec) {
    this.spec = spec;
  }

  get path(): string {
    return this.spec.path;
  }

  size(): number {
    return fs.fstatSync(this.spec.fd).size;
  }

  allocated(): number {
    return fs.fstatSync(this.spec.fd).blocks * BLOCK_BYTES;
  }

  mode(): number {
    return fs.fstatSync(this.spec.fd).mode;
  }

  read(into: Uint8Array, position: number): number {
    try {
      return readAt(this.spec.fd, into, position);
    } catch (error) {
      throw ioFault(error, this.path, 'read');
    }
  }

  write(from: Uint8Array, position: number): void {
    let done = 0;
    try {
      while (done < from.length) {
        done += fs.writeSync(this.spec.fd, from, done, from.length - done, position + done);
      }
    } catch (error) {
      throw ioFault(error, this.path, 'write');
    }
    this.#noteFresh(position, from.length);
  }

  /**
   * Else all of a large output would still be in memory when it is complete, and its sync begin only then
   * (docs/decisions/0040).
   */
  #noteFresh(position: number, length: number): void {
    const { start, end } = this.#fresh;
    this.#fresh = { start: Math.min(start, position), end: Math.max(end, position + length) };
    this.#freshBytes += length;
    if (this.#freshBytes < WRITEBACK_BYTES) return;
    // The page at the end is likely to be written on.
    const whole = this.#fresh.end - (this.#fresh.end % PAGE_BYTES);
    beginWriteback(this.spec.fd, { start: this.#fresh.start, end: whole });
    this.#fresh = NOWHERE;
    this.#freshBytes = 0;
  }

  truncate(length: number): void {
    try {
      fs.ftruncateSync(this.spec.fd, length);
    } catch (error) {
      throw ioFault(error, this.path, 'resize');
    }
  }

  punch(position: number, length: number): boolean {
    return punchHole(this.spec.fd, { start: position, end: position + length });
  }

  zero(position: number, length: number): void {
    if (length === 0 || this.punch(position, length)) return;
    const zeros = Buffer.alloc(Math.min(length, ZERO_PIECE_BYTES));
    for (let done = 0; done < length; done += zeros.length) {
      this.write(zeros.subarray(0, Math.min(zeros.length, length - done)), position + done);
    }
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.spec.fd, (error) =>
        error ? reject(ioFault(error, this.path, 'sync')) : resolve(),
      );
    });
  }

  close(): void {
    fs.closeSync(this.spec.fd);
    if (this.spec.logFd !== undefined) fs.closeSync(this.spec.logFd);
  }
}

export type LogKind = 'W' | 'P' | 'T' | 'S';
const LOG_HEADER_BYTES = 13;

class LoggedFile extends PlainFile {
  #log(kind: LogKind, position: number, length: number, data?: Uint8Array): void {
    const record = Buffer.alloc(LOG_HEADER_BYTES + (data?.length ?? 0));
    record.write(kind, 0, 'latin1');
    record.writeBigUInt64LE(BigInt(position), 1);
    record.writeUInt32LE(length, 9);
    if (data) record.set(data, LOG_HEADER_BYTES);
    fs.writeSync(this.spec.logFd as number, record);
  }

  override write(from: Uint8Array, position: number): void {
    this.#log('W', position, from.length, from);
    super.write(from, position);
  }

  override truncate(length: number): void {
    this.#log('T', length, 0);
    super.truncate(length);
  }

  override punch(position: number, length: number): boolean {
    this.#log('P', position, length);
    return super.punch(position, length);
  }

  override async sync(): Promise<void> {
    await super.sync();
    this.#log('S', 0, 0);
  }
}

/** One entry of an I/O log, as `readLog` gives it back. */
export type LogEntry =
  | { readonly kind: 'write'; readonly position: number; readonly data: Buffer }
  | { readonly kind: 'truncate'; readonly length: number }
  | { readonly kind: 'sync' };

/** Parses the log that a logged file wrote; a punch is a write of zeros. */
export function* readLog(log: Buffer): Generator<LogEntry> {
  let at = 0;
  while (at < log.length) {
    const kind = String.fromCharCode(log[at] as number);
    const position = Number(log.readBigUInt64LE(at + 1));
    const length = log.readUInt32LE(at + 9);
    at += LOG_HEADER_BYTES;
    if (kind === 'P') {
      yield { kind: 'write', position, data: Buffer.alloc(length) };
      continue;
    }
    if (kind === 'W') yield { kind: 'write', position, data: log.subarray(at, at + length) };
    else if (kind === 'T') yield { kind: 'truncate', length: position };
    else yield { kind: 'sync' };
    at += length;
  }
}

/** The file behind a descriptor that is already open, in this or another thread. */
export const attachFile = (spec: FileSpec): File =>
  spec.logFd === undefined ? new PlainFile(spec) : new LoggedFile(spec);

/**
 * Opens a file. `flags` as for open(2) in Node ("r", "r+", "wx+"). With `log`, every change is
 * appended to that file. Throws the system's own error, which the caller turns into its fault.
 */
export const openFile = (path: string, flags: string, log?: string): File => {
  const fd = fs.openSync(path, flags);
  return attachFile(log === undefined ? { path, fd } : { path, fd, logFd: fs.openSync(log, 'a') });
};

/** Permissions of any new file, before the umask. */
export const ANY_MODE = 0o666;

/** Those of a file that is made of one with `mode`: others get no more than from that one; the owner reads and writes. */
export const modeAfter = (mode: number): number => 0o600 | (mode & 0o066);

/** Who may write in a folder need not be allowed to read it, and not every file system has folders that can be synced. */
const UNSYNCED: ReadonlySet<string | undefined> = new Set(['EACCES', 'EINVAL']);

/** Makes the name of a file durable: the folder that holds it is synced, where that is possible. */
export const syncFolder = (path: string): void => {
  let fd: number | undefined;
  try {
    fd = fs.openSync(dirname(path), 'r');
    fs.fsyncSync(fd);
  } catch (error) {
    if (!UNSYNCED.has(errnoOf(error))) throw error;
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
};

/** Writes a file for its owner's eyes so that it is the old one or the new one, whole and durably. Throws the system's error. */
export const replaceFile = (path: string, parts: readonly (string | Uint8Array)[]): void => {
  const draft = `${path}.new`;
  const fd = fs.openSync(draft, 'w', 0o600);
  try {
    for (const part of parts) fs.writeFileSync(fd, part);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(draft, path);
  syncFolder(path);
};
