// Where a restore may go: devices, copies in place, ranges, standard output; and past damage.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { restore, take } from '../../snapshot/index.js';
import { contentOf, loopDevice, overwrite } from '../tools/device.js';
import { EDITS } from '../tools/edits.js';
import { allocatedBytes, copyState, diskDir, patch, Random } from '../tools/files.js';
import { qemu } from '../tools/foreign.js';
import { smallDisk } from '../tools/mount.js';
import { MAIN, nvsnap, start } from '../tools/nvsnap.js';

t.setTimeout(240_000);

const CLUSTER = 4096;
const CLUSTERS = 3000;
const SIZE = CLUSTERS * CLUSTER + 1234;
const CODECS = ['zstd', 'zlib', 'none', 'lz4'] as const;

/** An image with data, zeros and a short tail, and a store with snapshot "a" of it. */
const makeStore = async (t: Test, compression: (typeof CODECS)[number] = 'zstd') => {
  const folder = diskDir(t);
  const [image, store, output] = ['image', 'store.qcow2', 'output'].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  const random = new Random(4);
  const content = random.bytes(SIZE);
  content.fill('half of this is text, ', 20 * CLUSTER, 90 * CLUSTER);
  content.fill(0, 100 * CLUSTER, 700 * CLUSTER);
  content.fill(0, 1500 * CLUSTER, 1510 * CLUSTER);
  content.fill(0, 2500 * CLUSTER);
  fs.writeFileSync(image, content);
  await take({ image, store, tag: 'a', clusterSize: CLUSTER, compression });
  return { folder, image, store, output, content, random };
};

/** Clusters that differ, the image's length alone counting. */
const differing = (content: Buffer, copy: Buffer): number => {
  const padded = Buffer.concat([copy], content.length);
  let count = 0;
  for (let at = 0; at < content.length; at += CLUSTER) {
    if (!content.subarray(at, at + CLUSTER).equals(padded.subarray(at, at + CLUSTER))) count += 1;
  }
  return count;
};

for (const compression of CODECS) {
  t.test(`a block device is the image afterwards, zeros too: ${compression}`, async (t) => {
    const { folder, store, content } = await makeStore(t, compression);
    const junk = Buffer.alloc(SIZE + 8 * CLUSTER, 'what was on the device before ');
    const device = loopDevice(t, folder, junk);
    if (!device) {
      t.comment('not done: this process may not have a loop device');
      return;
    }
    t.match(await nvsnap(['restore', store, 'a', device]), { status: 1, stderr: /exists already/ });
    for (const options of [{ force: true }, { inPlace: true }]) {
      overwrite(device, junk);
      const r = await restore({ store, snapshot: 'a', output: device, ...options });
      t.ok(contentOf(device, SIZE).equals(content), JSON.stringify(options));
      t.match(r, { verified: true, imageBytes: SIZE });
      const rest = contentOf(device, SIZE + CLUSTER).subarray(SIZE);
      t.ok(rest.equals(junk.subarray(SIZE, SIZE + CLUSTER)), 'no further');
    }
    const again = await restore({ store, snapshot: 'a', output: device, inPlace: true });
    t.equal(again.changedBytes, 0);
  });
}

t.test('a copy becomes the image, and only what differs is touched', async (t) => {
  const { image, store, output, content, random } = await makeStore(t);
  for (const [name, edit] of EDITS) {
    copyState(image, output);
    edit(output, random);
    const copy = fs.readFileSync(output);
    const clusters = differing(content, copy);
    const told = await restore({ store, snapshot: 'a', output, inPlace: true, dryRun: true });
    t.ok(fs.readFileSync(output).equals(copy), `${name}: a dry run changes nothing`);
    t.equal(told.dryRun, true);
    if (copy.length === content.length) {
      t.equal(Math.ceil((told.changedBytes as number) / CLUSTER), clusters, `${name}: foretold`);
    }
    const r = await restore({ store, snapshot: 'a', output, inPlace: true });
    t.ok(fs.readFileSync(output).equals(content), name);
    t.equal(Math.ceil((r.changedBytes as number) / CLUSTER), clusters, `${name}: counted`);
    t.match(await restore({ store, snapshot: 'a', output, inPlace: true }), { changedBytes: 0 });
  }
});

t.test('what becomes zero in a copy becomes a hole', async (t) => {
  const { image, store, output, random } = await makeStore(t);
  copyState(image, output);
  patch(output, random.bytes(400 * CLUSTER), 200 * CLUSTER);
  const before = allocatedBytes(output);
  await restore({ store, snapshot: 'a', output, inPlace: true });
  t.ok(allocatedBytes(output) <= before - 390 * CLUSTER, 'given back to the file system');
});

t.test('a range, on any border, is exactly that range', async (t) => {
  const { store, output, content, random } = await makeStore(t);
  const copy = `${output}.copy`;
  const junk = random.bytes(SIZE);
  for (let n = 0; n < 15; n += 1) {
    const start = random.below(SIZE);
    const length = 1 + random.below(Math.min(SIZE - start, n % 2 === 0 ? 3 * CLUSTER : SIZE));
    const range = { start, length };
    const wanted = content.subarray(start, start + length);
    const r = await restore({ store, snapshot: 'a', output, range, force: true });
    t.match(r, { range, imageBytes: SIZE });
    t.ok(fs.readFileSync(output).equals(wanted), `${start}:${length}`);
    // In place it goes where it belongs, and nothing else is touched.
    const other = Buffer.from(junk);
    fs.writeFileSync(copy, other);
    await restore({ store, snapshot: 'a', output: copy, range, inPlace: true });
    wanted.copy(other, start);
    t.ok(fs.readFileSync(copy).equals(other), `${start}:${length} in place`);
  }
});

t.test('standard output gets the image in order, whoever reads it', async (t) => {
  const { store, output, content } = await makeStore(t);
  const toFile = fs.openSync(output, 'w');
  const direct = await nvsnap(['restore', store, 'a', '-', '--json'], {
    stdio: ['ignore', toFile, 'pipe'],
  });
  fs.closeSync(toFile);
  t.match(JSON.parse(direct.stderr), { output: '-', imageBytes: SIZE, verified: true });
  t.ok(fs.readFileSync(output).equals(content), 'a file');
  const shell = (script: string) =>
    spawnSync('bash', ['-c', script, MAIN, process.execPath, store, output], { encoding: 'utf8' });
  const command = '"$1" "$0" restore "$2" a - -q';
  // A reader that is slow, and one that takes few bytes at a time.
  t.equal(shell(`${command} | (sleep 0.5; dd bs=777 status=none) > "$3"`).status, 0);
  t.ok(fs.readFileSync(output).equals(content), 'a pipe');
  t.equal(shell(`${command} --range 400000:2000000 > "$3"`).status, 0);
  t.ok(fs.readFileSync(output).equals(content.subarray(400000, 2400000)), 'a range');
  const gone = shell(`set -o pipefail; ${command} | head -c 1000 > "$3"`);
  t.equal(gone.status, 1);
  t.match(gone.stderr, /^nvsnap: Could not write standard output: broken pipe\.\n/);
});

t.test('a reader that stops reading does not keep a signal from ending it', async (t) => {
  const { store } = await makeStore(t);
  const { child, ended } = start(process.execPath, [MAIN, 'restore', store, 'a', '-']);
  await new Promise((resolve) => child.stdout?.once('readable', resolve));
  child.kill('SIGTERM');
  child.stdout?.resume();
  const { status, stderr } = await ended;
  t.equal(status, 1);
  t.match(stderr, /^nvsnap: Stopped by SIGTERM\./);
});

t.test('what a restore refuses, before anything is touched', async (t) => {
  const { folder, image, store, output } = await makeStore(t);
  const text = fs.readFileSync(image);
  const part = join(folder, 'part');
  fs.writeFileSync(part, 'short');
  for (const [args, status, stderr] of [
    [['a', join(folder, 'none'), '--in-place'], 1, /does not exist/],
    [['a', folder, '--in-place'], 1, /a directory/],
    [['a', '-', '--in-place'], 2, /cannot be brought up to date/],
    [['a', output, '--dry-run'], 2, /goes with --in-place/],
    [['a', image, '--in-place', '--dry-run', '--range', '0:1'], 2, /the whole image/],
    [['a', output, '--range', `${SIZE}:1`], 2, /not within the image/],
    [['a', output, '--range', '5'], 2, /not a range/],
    [['a', output, '--range', '0:0'], 2, /not a range/],
    [['a', part, '--in-place', '--range', '0:5'], 1, /has 5 bytes/],
    [['a', store, '--force'], 1, /both the image and the store/],
    [['a', store, '--in-place'], 1, /both the image and the store/],
  ] as const) {
    t.match(await nvsnap(['restore', store, ...args]), { status, stderr }, args.join(' '));
  }
  t.ok(fs.readFileSync(image).equals(text));
  t.equal(fs.readFileSync(part, 'utf8'), 'short');
  t.notOk(fs.existsSync(output));
});

t.test('a copy of another length stays as it is when an update is refused', async (t) => {
  const { folder, image, store, output: copy } = await makeStore(t);
  const foreign = join(folder, 'foreign.qcow2');
  qemu('convert', '-O', 'qcow2', image, foreign);
  qemu('snapshot', '-c', 'theirs', foreign);
  for (const [from, snapshot] of [
    [store, 'a'],
    [foreign, 'theirs'],
  ] as const) {
    for (const text of ['short', 'long '.repeat(SIZE / 4)]) {
      fs.writeFileSync(copy, text);
      for (const [args, stderr] of [
        [['--memory', '1M'], /too little/],
        [['--threads', '1000'], /not a number of threads/],
      ] as const) {
        const words = ['restore', from, snapshot, copy, '--in-place', ...args];
        t.match(await nvsnap(words), { status: 2, stderr }, words.join(' '));
      }
      t.ok(fs.readFileSync(copy, 'utf8') === text, 'not a byte more or less');
    }
  }
});

t.test('a disk that is full ends an update with one sentence', async (t) => {
  const { folder, store } = await makeStore(t, 'none');
  const disk = smallDisk(t, folder, 4 * 2 ** 20);
  if (!disk) {
    t.comment('not done: this process may not mount');
    return;
  }
  const copy = join(disk, 'copy');
  fs.writeFileSync(copy, '');
  t.match(await nvsnap(['restore', store, 'a', copy, '--in-place']), {
    status: 1,
    stderr: /^nvsnap: No space is left to write /,
  });
});
