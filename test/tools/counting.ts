// Counts what a program and its threads ask of the system, and what they tell each other: loaded before it with
// `node --import`, which every thread does too. Each call adds a line to the file that NVSNAP_TEST_COUNTS names.

import fs from 'node:fs';
import { createRequire } from 'node:module';
import { MessagePort } from 'node:worker_threads';

type Native = (...args: readonly unknown[]) => number;

/** Smaller copies are digests and the like, and cost nothing. */
const LEAST_COPY = 4096;

const path = process.env.NVSNAP_TEST_COUNTS;
if (path === undefined) throw new Error('NVSNAP_TEST_COUNTS names no file');
const log = fs.openSync(path, 'a');
const { readSync, writeSync, fdatasync, fsyncSync } = fs;

const note = (kind: string, bytes: number): void => {
  writeSync(log, `${kind} ${bytes}\n`);
};

fs.readSync = ((...args: Parameters<typeof readSync>) => {
  const got = readSync(...args);
  note('read', got);
  return got;
}) as typeof readSync;

// What is compiled reads by itself: a call counts as a read, however many pieces it reads.
const native = createRequire(import.meta.url)('../../../build/Release/nvsnap.node') as {
  scan: Native;
  call: Native;
  readonly SYS_sync_file_range: number;
};
const { scan, call, SYS_sync_file_range } = native;
native.scan = (...args) => {
  const got = scan(...args);
  note('read', Math.max(0, got));
  return got;
};

native.call = (number, ...args) => {
  if (number === SYS_sync_file_range) note('writeback', Number(args[2]));
  return call(number, ...args);
};

fs.writeSync = ((...args: Parameters<typeof writeSync>) => {
  const put = writeSync(...args);
  note('write', put);
  return put;
}) as typeof writeSync;

fs.fdatasync = ((...args: Parameters<typeof fdatasync>) => {
  note('sync', 0);
  fdatasync(...args);
}) as typeof fdatasync;

fs.fsyncSync = (fd: number) => {
  note('sync', 0);
  fsyncSync(fd);
};

const { copy } = Buffer.prototype;
Buffer.prototype.copy = function (this: Buffer, ...args: Parameters<typeof copy>): number {
  const bytes = copy.apply(this, args);
  if (bytes >= LEAST_COPY) note('copy', bytes);
  return bytes;
};

const { postMessage } = MessagePort.prototype;
MessagePort.prototype.postMessage = function (
  this: MessagePort,
  ...args: Parameters<typeof postMessage>
): unknown {
  note('message', 0);
  // A broadcast channel asks its port whether it could.
  return postMessage.apply(this, args);
} as typeof postMessage;
