// A point of a running machine: everything is looked at, the machine is stopped, its devices are written down, its memory
// is cloned, and it goes on; then the clones are read. What belongs together is published last, in one file.

import { fault } from '../disk/index.js';
import { parseAddress } from './address.js';
import { describeMachine, type Machine } from './machine.js';
import { checkStatus } from './pause.js';
import { planRegions, type TakenRegion } from './plan.js';
import { PointRun } from './point-run.js';
import { PointsFolder } from './points.js';
import { Qmp } from './qmp.js';
import {
  type AskedPoint,
  checkDirty,
  checkOptions,
  type PointOptions,
  type PointResult,
  withDefaults,
} from './take-options.js';

const tagFor = (folder: PointsFolder, asked: string | undefined, now: Date): string => {
  if (asked !== undefined) {
    if (folder.has(asked)) throw fault('point-taken', { tag: asked, folder: folder.path });
    return asked;
  }
  const base = `${now.toISOString().slice(0, 19)}Z`;
  for (let n = 1; ; n += 1) {
    const tag = n === 1 ? base : `${base}-${n}`;
    if (!folder.has(tag)) return tag;
  }
};

/** Takes a point. Rejects with a Fault; then there is none, and the machine is as it was. */
export const takePoint = async (options: PointOptions): Promise<PointResult> => {
  const began = performance.now();
  checkOptions(options);
  const asked = withDefaults(options);
  const address = parseAddress(options.qmp);
  const folder = new PointsFolder(options.stores, (sentence) =>
    options.events?.emit('notice', sentence),
  );
  options.events?.emit('step', 'looking');
  const qmp = await Qmp.connect(address, { signal: options.signal });
  try {
    const machine = await describeMachine(qmp);
    checkStatus(machine);
    checkDirty(options, machine);
    const regions = planRegions(machine, asked.state, asked.freeze);
    announce(asked, machine, regions);
    await folder.open();
    const tag = tagFor(folder, options.tag, new Date());
    return await new PointRun(asked, { folder, tag, qmp, address, machine, regions }).run(began);
  } finally {
    qmp.close();
    folder.close();
  }
};

/** What is good to know, though it stops nothing. */
const announce = (
  { events, whilePaused, freeze, state }: AskedPoint,
  { disks, running, address }: Machine,
  planned: readonly TakenRegion[],
): void => {
  const say = (sentence: string): void => {
    events?.emit('notice', sentence);
  };
  if (whilePaused === undefined && disks.length > 0) {
    const names = disks.map(({ device }) => device).join(', ');
    say(`Disks that the machine can write to are not part of the point: ${names}.`);
  }
  if (freeze === 'none' && running) {
    say(`The machine at ${address} runs on: what is taken is not of one moment.`);
  }
  if (!running && state === 'device') {
    say(
      'The machine stands still, and does so afterwards (as "postmigrate"); "cont" lets it go on.',
    );
  }
  const long = planned.find(({ file, bytes }) => file.bytes > bytes);
  if (long) say(`${long.file.path} is longer than the machine's memory; all of it is taken.`);
};
