// A machine goes on where a point was taken: a QEMU that was started with -incoming defer on the point's images gets the
// device state, once it is certain that it is the same machine with the same memory.

import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Fault, fault } from '../disk/index.js';
import { restore } from '../snapshot/index.js';
import { parseAddress } from './address.js';
import type { MachineEmitter } from './events.js';
import { describeMachine, type Machine } from './machine.js';
import type { Manifest, Member } from './manifest.js';
import { matchContent, matchMachine, matchRegions } from './match.js';
import { changeSettings, currentSettings, migrationEnd, restoreSettings } from './migration.js';
import { PointsFolder } from './points.js';
import { Qmp } from './qmp.js';
import { sendState } from './state.js';

/** QEMU may just have been started. */
const WAIT_MS = 5_000;

const SEE_QEMU = 'QEMU says why on its standard error; start it anew with the devices it had.';

export interface ResumeOptions {
  readonly qmp: string;
  /** Folder of the machine's points. */
  readonly stores: string;
  readonly tag: string;
  /** Accept another version of QEMU. */
  readonly otherQemu?: boolean | undefined;
  readonly memory?: number | undefined;
  readonly events?: MachineEmitter | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A machine that goes on. Sizes in bytes, times in milliseconds. */
export interface ResumedPoint {
  readonly tag: string;
  readonly address: string;
  readonly status: string;
  readonly comparedBytes: number;
  readonly stateBytes: number;
  readonly elapsedMs: number;
}

/** The device state in a file of its own, every byte verified. */
const withStateFile = async <T>(
  folder: PointsFolder,
  { snapshot }: Member,
  signal: AbortSignal | undefined,
  use: (file: string) => Promise<T>,
): Promise<T> => {
  const place = fs.mkdtempSync(join(tmpdir(), 'nvsnap-vm-'));
  try {
    const output = join(place, 'state');
    await restore({ store: folder.stateStore, snapshot, output, signal });
    return await use(output);
  } finally {
    fs.rmSync(place, { recursive: true, force: true });
  }
};

const load = async (qmp: Qmp, { pid }: Machine, file: string): Promise<string> => {
  const settings = await currentSettings(qmp);
  await changeSettings(qmp, settings);
  try {
    await sendState(qmp, pid, file);
    const end = await migrationEnd(qmp);
    if (end !== 'completed') {
      throw fault('vm-state-failed', { reason: `the load ended as ${end}`, advice: SEE_QEMU });
    }
    await restoreSettings(qmp, settings);
    await qmp.execute('cont');
    return (await qmp.execute('query-status')).status;
  } catch (error) {
    // A state that it does not like ends QEMU.
    if (error instanceof Fault && error.code === 'qmp-closed') {
      const reason = 'QEMU ended while it loaded the state';
      throw fault('vm-state-failed', { reason, advice: SEE_QEMU }, error);
    }
    throw error;
  }
};

const stateOf = ({ state, tag }: Manifest): Member => {
  if (state) return state;
  throw fault('vm-differs', {
    tag,
    problem: 'the point has no device state',
    advice: 'Restore its images and boot from them; take points with --state device to resume.',
  });
};

/** Lets a machine go on from a point. Rejects with a Fault; what does not fit is refused before QEMU is given anything. */
export const resumePoint = async (options: ResumeOptions): Promise<ResumedPoint> => {
  const began = performance.now();
  const { events, signal } = options;
  const folder = new PointsFolder(options.stores);
  const address = parseAddress(options.qmp);
  const manifest = await folder.manifest(options.tag);
  const state = stateOf(manifest);
  events?.emit('step', 'looking');
  const qmp = await Qmp.connect(address, { waitMs: WAIT_MS, signal });
  try {
    const machine = await describeMachine(qmp);
    matchMachine(manifest, machine, options.otherQemu === true);
    const regions = matchRegions(manifest, machine);
    events?.emit('step', 'comparing');
    await matchContent(manifest, regions, folder, options);
    events?.emit('step', 'loading');
    const status = await withStateFile(folder, state, signal, (file) => load(qmp, machine, file));
    return {
      tag: manifest.tag,
      address: qmp.address,
      status,
      comparedBytes: manifest.regions.reduce((sum, { bytes }) => sum + bytes, 0),
      stateBytes: state.bytes,
      elapsedMs: Math.round(performance.now() - began),
    };
  } finally {
    qmp.close();
  }
};
