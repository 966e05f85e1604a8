// QEMU's migration, used to write down and read back the state of all devices. With x-ignore-shared the memory that is
// shared with a file is left out: it is in the file.

import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, fault } from '../disk/index.js';
import type { Capability } from './commands.js';
import { abortReason, type Qmp } from './qmp.js';

const LOOK_MS = 5;

/** Faster than any socket; what comes at once need not be spread over time. */
const BANDWIDTH = 2 ** 40;

/** Capabilities without which the state would be no stream of devices alone, or QEMU would not take it back. */
const WANTED: ReadonlyMap<string, boolean> = new Map([
  ['x-ignore-shared', true],
  ...[
    ...[
      'xbzrle',
      'auto-converge',
      'zero-blocks',
      'compress',
      'postcopy-ram',
      'x-colo',
      'release-ram',
    ],
    ...['block', 'return-path', 'pause-before-switchover', 'multifd', 'dirty-bitmaps'],
    ...['late-block-activate', 'validate-uuid', 'background-snapshot', 'zero-copy-send'],
    ...['postcopy-preempt', 'postcopy-blocktime', 'rdma-pin-all', 'mapped-ram', 'switchover-ack'],
  ].map((name): readonly [string, boolean] => [name, false]),
]);

/** Capabilities and parameters as somebody else has set them: what they are set back to. */
export interface Settings {
  readonly capabilities: readonly Capability[];
  /** Null when it was not changed. */
  readonly bandwidth: number | null;
}

export const NO_SETTINGS: Settings = { capabilities: [], bandwidth: null };

/** What would have to be changed for a migration of devices alone, and how it is now. */
export const currentSettings = async (qmp: Qmp): Promise<Settings> => {
  const all = await qmp.execute('query-migrate-capabilities');
  if (!all.some(({ capability }) => capability === 'x-ignore-shared')) {
    throw fault('vm-unsuitable', {
      problem: 'This QEMU has no x-ignore-shared: it would write all memory into the device state.',
      advice: 'Use QEMU 4.0 or newer, or take the NVDIMMs alone with --state none.',
    });
  }
  const capabilities = all.filter(({ capability, state }) => {
    const wanted = WANTED.get(capability);
    return wanted !== undefined && wanted !== state;
  });
  const bandwidth = (await qmp.execute('query-migrate-parameters'))['max-bandwidth'];
  const slow = bandwidth !== undefined && bandwidth > 0 && bandwidth < BANDWIDTH;
  return { capabilities, bandwidth: slow ? bandwidth : null };
};

/** Sets what `currentSettings` has found to differ. */
export const changeSettings = async (
  qmp: Qmp,
  { capabilities, bandwidth }: Settings,
): Promise<void> => {
  if (bandwidth !== null)
    await qmp.execute('migrate-set-parameters', { 'max-bandwidth': BANDWIDTH });
  if (capabilities.length === 0) return;
  await qmp.execute('migrate-set-capabilities', {
    capabilities: capabilities.map(({ capability, state }) => ({ capability, state: !state })),
  });
};

/** Sets it back. */
export const restoreSettings = async (
  qmp: Qmp,
  { capabilities, bandwidth }: Settings,
): Promise<void> => {
  if (capabilities.length > 0) await qmp.execute('migrate-set-capabilities', { capabilities });
  if (bandwidth !== null)
    await qmp.execute('migrate-set-parameters', { 'max-bandwidth': bandwidth });
};

const ENDED: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled', 'none']);

/** Waits until a migration has come to an end; resolves to its status. */
export const migrationEnd = async (qmp: Qmp, signal?: AbortSignal): Promise<string> => {
  for (;;) {
    const { status = 'none', 'error-desc': words } = await qmp.execute('query-migrate');
    if (status === 'failed' && words !== undefined) return `failed: ${words}`;
    if (ENDED.has(status)) return status;
    if (signal?.aborted) throw abortReason(signal);
    await sleep(LOOK_MS);
  }
};

/** Ends a migration that is under way, if there is one; whatever is wrong then, it is no reason not to go on. */
export const endMigration = async (qmp: Qmp, limitMs: number): Promise<void> => {
  try {
    await qmp.execute('migrate_cancel');
    await migrationEnd(qmp, AbortSignal.timeout(limitMs));
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
  }
};
