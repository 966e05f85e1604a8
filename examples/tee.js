// Copies what has changed to a second place while it is stored: to a sparse file in which each changed cluster lies at
// its own offset, and in which all else is a hole. That is a difference as Firecracker writes them.
//
//     nvsnap take nvdimm.img vm.qcow2 --stage ./tee.js,to=/mnt/other/today.diff
//
// The file is a new one, or empty. It is synced before the snapshot is published, so whoever sees the snapshot has the
// file too; when the take fails it is removed. Clusters that became zero are counted and stay holes, as do those that
// have become holes in the image, which no stage gets to see: to bring a copy up to date, restore it in place.

import {
  closeSync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Kind, stage } from 'nvsnap/stage';

/**
 * Makes the file, and makes its name durable.
 * @param {string} path
 */
const make = (path) => {
  const fd = openSync(path, 'a');
  try {
    const { size } = fstatSync(fd);
    if (size > 0) throw new Error(`${path} is not empty`);
  } finally {
    closeSync(fd);
  }
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
};

export default stage({
  name: 'tee',
  summary: 'copies what has changed to a second place',
  usage: { to: 'the file to write, a new or an empty one' },
  at: ['before:compress'],
  takes: ['plain', 'zero'],

  /** @returns {{ to: string }} */
  parse(words, { folder }) {
    const unknown = Object.keys(words).find((word) => word !== 'to');
    if (unknown) throw new Error(`it has no option "${unknown}"`);
    if (!words.to) throw new Error('it needs to=FILE');
    const to = resolve(folder, String(words.to));
    make(to);
    return { to };
  },

  // Every thread has the file open: they write to different places.
  open({ to }) {
    const fd = openSync(to, 'r+');
    const part = { copied: 0, bytes: 0, zeroed: 0 };
    let complete = false;

    /**
     * @param {Buffer} bytes
     * @param {number} offset
     */
    const write = (bytes, offset) => {
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
      }
    };

    return {
      batch(batch) {
        const { clusterSize } = batch.layout;
        for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
          if (batch.kinds[i] === Kind.zero) part.zeroed += 1;
          if (batch.kinds[i] !== Kind.plain) continue;
          const bytes = batch.content(i);
          write(bytes, batch.offset + i * clusterSize);
          part.copied += 1;
          part.bytes += bytes.length;
        }
      },
      flush() {
        fdatasyncSync(fd);
        complete = true;
        return part;
      },
      close() {
        closeSync(fd);
        // Not flushed: the take has failed.
        if (!complete) rmSync(to, { force: true });
      },
    };
  },

  conclude: (parts) => ({
    'clusters copied': parts.reduce((all, { copied }) => all + copied, 0),
    'bytes copied': parts.reduce((all, { bytes }) => all + bytes, 0),
    'clusters zeroed': parts.reduce((all, { zeroed }) => all + zeroed, 0),
  }),
});
