// A process that maps images and stores into them, as a virtual machine does: it does what its standard input says, one
// line of JSON after another, and answers each with a line.

import { once } from 'node:events';
import fs from 'node:fs';
import { createInterface } from 'node:readline';
import { Worker } from 'node:worker_threads';
import koffi from 'koffi';
import { type Mapping, mapShared, storeInto, unmap } from '../../disk/index.js';
import type { MapperOrder } from './mapper.js';

const c = koffi.load(null);
const madvise = c.func('int madvise(uintptr_t at, size_t length, int advice)');
const mlock = c.func('int mlock(uintptr_t at, size_t length)');
const fcntl = c.func('int fcntl(int fd, int command, int flags)');
const execv = c.func('int execv(const char *path, const char **words)');
const readByte = c.func('int memcmp(uintptr_t at, uintptr_t other, size_t length)');

const F_SETFD = 2;

const mappings: Mapping[] = [];
const ends: Promise<unknown>[] = [];

const mappingOf = (image: number): Mapping => {
  const mapping = mappings[image];
  if (!mapping) throw new Error(`image ${image} is not mapped`);
  return mapping;
};

const map = (path: string): Mapping => {
  const fd = fs.openSync(path, 'r+');
  try {
    return mapShared(fd, 0, fs.fstatSync(fd).size);
  } finally {
    fs.closeSync(fd);
  }
};

const RACE = new URL('./mapper-thread.js', import.meta.url);

const obey = async (order: MapperOrder): Promise<void> => {
  switch (order.do) {
    case 'map':
      mappings[order.image] = map(order.path);
      return;
    case 'unmap':
      unmap(mappingOf(order.image));
      delete mappings[order.image];
      return;
    case 'store':
      storeInto(mappingOf(order.image), order.at, Buffer.from(order.base64, 'base64'));
      return;
    case 'advise':
      madvise(mappingOf(order.image).address, mappingOf(order.image).length, order.advice);
      return;
    case 'lock':
      if (mlock(mappingOf(order.image).address, mappingOf(order.image).length) !== 0) {
        throw new Error('mlock failed');
      }
      return;
    case 'touch': {
      // Reading makes entries of the page table, and stores nothing.
      const { address, length } = mappingOf(order.image);
      readByte(address, address, 0);
      for (let at = 0; at < length; at += 4096) readByte(address + at, address + at + 1, 1);
      return;
    }
    case 'exec':
      // Node has them closed at an exec.
      for (const fd of [0, 1, 2]) fcntl(fd, F_SETFD, 0);
      execv(process.execPath, [...process.argv.slice(0, 2), null]);
      throw new Error('execv failed');
    case 'race': {
      const begins: Promise<unknown>[] = [];
      for (let thread = 0; thread < order.threads; thread += 1) {
        const mapping = mappingOf(order.image);
        const worker = new Worker(RACE, {
          workerData: { mapping, thread, threads: order.threads },
        });
        ends.push(once(worker, 'exit'));
        begins.push(once(worker, 'message'));
      }
      await Promise.all(begins);
      return;
    }
    case 'calm':
      await Promise.all(ends.splice(0));
      return;
  }
};

for await (const line of createInterface({ input: process.stdin })) {
  try {
    await obey(JSON.parse(line) as MapperOrder);
    console.log('done');
  } catch (error) {
    console.log(`failed: ${String(error)}`);
  }
}
process.exit();
