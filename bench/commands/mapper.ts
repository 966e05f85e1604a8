// A process that has an image mapped and stores into it, as a virtual machine does with its NVDIMM. Each line of its
// standard input names bytes as [start, end, seed]s, in JSON; it fills them and answers with a line.
// A program of its own: node mapper.js IMAGE

import fs from 'node:fs';
import { createInterface } from 'node:readline';
import { mapShared, storeInto } from '../../disk/index.js';
import { Random } from '../workload/random.js';

const [image] = process.argv.slice(2);
if (image === undefined) throw new Error('IMAGE is needed');
const fd = fs.openSync(image, 'r+');
const mapping = mapShared(fd, 0, fs.fstatSync(fd).size);
fs.closeSync(fd);
process.stdout.write('ready\n');
createInterface({ input: process.stdin }).on('line', (line) => {
  for (const [start, end, seed] of JSON.parse(line) as [number, number, number][]) {
    const bytes = Buffer.alloc(end - start);
    new Random(seed).fill(bytes);
    storeInto(mapping, start, bytes);
  }
  process.stdout.write('done\n');
});
