// Removing the older of two points in time and keeping the newer: from a store; from an internal qcow2 snapshot by
// qemu-img; and from a chain of two files, either by writing the older into the newer (rebase), or the newer into the
// older (commit).

import fs from 'node:fs';
import { KiB } from '../../disk/index.js';
import { type Job, notInstalled } from '../job.js';
import { settle, syncPath } from '../measure/files.js';
import { startLimit } from '../measure/limits.js';
import { qemuCompare, qemuImg, qemuToQcow2 } from '../measure/peers.js';
import { execute, shell } from '../measure/process.js';
import { type Contender, race } from '../measure/race.js';
import { type Result, resultOf } from '../result.js';
import type { Subject } from '../subject.js';
import {
  checkSnapshot,
  copyStore,
  FIRST_TAG,
  listening,
  makeStore,
  ours,
  STORE,
} from './stores.js';

const PAGE = 4 * KiB;
const SECOND_TAG = 'second';
const QCOW2 = ['-f', 'qcow2'];

/** The second state: single pages of one byte value each, which qemu-io can write into an overlay too. */
const writePages = (job: Job, subject: Subject, overlay: string | undefined): void => {
  const { extents } = subject.advance(1, { pattern: 'scattered', changed: job.options.changed });
  const fd = fs.openSync(subject.path, 'r+');
  const orders: string[] = [];
  for (const [i, { start, end }] of extents.entries()) {
    for (let at = start; at < end; at += PAGE) {
      const value = 1 + (i % 255);
      fs.writeSync(fd, Buffer.alloc(PAGE, value), 0, PAGE, at);
      orders.push(`write -q -P ${value} ${at} ${PAGE}`);
    }
  }
  fs.closeSync(fd);
  if (overlay !== undefined) fs.writeFileSync(overlay, `${orders.join('\n')}\n`);
};

/** A chain of two files: the first state, and what is different in the second. */
const makeChain = async (job: Job, first: string, orders: string): Promise<void> => {
  const { scratch } = job;
  const [base, overlay] = [scratch.path('base.qcow2'), scratch.path('overlay.qcow2')];
  await execute(scratch, qemuToQcow2(first, base, 'zstd'));
  await execute(scratch, qemuImg('create', '-q', ...QCOW2, '-b', base, '-F', 'qcow2', overlay));
  await execute(scratch, shell('qemu-io -f qcow2 "$0" < "$1" > /dev/null', [overlay, orders]));
};

/** One of qemu-img's ways; works on copies of files, of which `result` holds the second state in the end. */
interface Way {
  readonly name: string;
  readonly files: readonly string[];
  readonly result: string;
  readonly args: readonly string[];
}

const waysIn = (job: Job): Way[] => {
  const at = (name: string): string => job.scratch.path(name);
  return [
    {
      name: 'qemu-img snapshot -d',
      files: ['internal'],
      result: at('internal.work'),
      args: ['snapshot', '-d', FIRST_TAG, at('internal.work')],
    },
    {
      name: 'qemu-img rebase',
      files: ['overlay.qcow2'],
      result: at('overlay.qcow2.work'),
      args: ['rebase', '-t', 'writeback', ...QCOW2, '-b', '', at('overlay.qcow2.work')],
    },
    {
      name: 'qemu-img commit',
      files: ['base.qcow2', 'overlay.qcow2'],
      result: at('base.qcow2.work'),
      args: ['commit', '-q', '-t', 'writeback', ...QCOW2, at('overlay.qcow2.work')],
    },
  ];
};

/** `image`: the state that stays. */
const contenderOf = (job: Job, image: string, { name, files, result, args }: Way): Contender => ({
  name,
  prepare: async () => {
    for (const file of files) {
      const work = job.scratch.path(`${file}.work`);
      copyStore(job.scratch.path(file), work);
      syncPath(work);
      settle(job, work);
    }
    if (files.length < 2) return;
    // The copy of the overlay is on the copy of its base.
    const [base, overlay] = files.map((file) => job.scratch.path(`${file}.work`));
    await execute(
      job.scratch,
      qemuImg('rebase', '-u', ...QCOW2, '-b', base ?? '', '-F', 'qcow2', overlay ?? ''),
    );
  },
  commands: () => [qemuImg(...args)],
  outputs: () => [result],
  prove: () => execute(job.scratch, qemuCompare(image, result)),
});

export const remove = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const subject = await job.subject(options.size);
  const base = await makeStore(job, subject.path);
  const work = scratch.path('store.work');
  const withQemu = job.has('qemu-img');
  const orders = scratch.path('orders');
  const original = scratch.path('original.img');
  copyStore(subject.path, original);
  writePages(job, subject, orders);
  await execute(scratch, ours(job, 'take', subject.path, base, '--tag', SECOND_TAG));
  const ways = withQemu ? waysIn(job) : [];
  if (withQemu) {
    await makeChain(job, original, orders);
    copyStore(base, scratch.path('internal'));
  }
  fs.rmSync(original);
  let digest = '';
  const own = listening({
    name: 'nvsnap',
    prepare: () => {
      copyStore(base, work);
      syncPath(work);
      settle(job, work);
    },
    commands: () => [ours(job, 'remove', work, FIRST_TAG)],
    outputs: () => [work],
    prove: async () => {
      digest = await checkSnapshot(job, subject.path, work, SECOND_TAG);
    },
  });
  const contenders = [own.contender, ...ways.map((way) => contenderOf(job, subject.path, way))];
  const { laps, limits } = await race(scratch, contenders, {
    rounds: options.rounds,
    work: undefined,
    limits: [startLimit(job)],
  });
  for (const name of ['base.qcow2', 'overlay.qcow2', 'internal']) {
    for (const end of ['', '.work']) scratch.drop(`${name}${end}`);
  }
  for (const name of [STORE, 'store.work', 'orders']) scratch.drop(name);
  return resultOf(
    { level: 'commands', case: 'remove' },
    {
      title: `remove the older of two points in time, ${options.changed} % between them`,
      laps,
      limits,
      missing: withQemu ? [] : [notInstalled('qemu-img')],
      verified: laps.map(({ name }) => name),
      digest,
      insight: own.insight(),
    },
  );
};
