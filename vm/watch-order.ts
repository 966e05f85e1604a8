// What the watchdog is told when it is started.

import type { Address } from './address.js';
import type { Settings } from './migration.js';

export interface WatchOrder {
  readonly address: Address;
  /** QEMU's process, where it is known. */
  readonly pid: number | null;
  /** Who started it, for the log. */
  readonly owner: number;
  /** False for a machine that stood still before: it is left so. */
  readonly running: boolean;
  readonly settings: Settings;
  readonly maxPauseMs: number;
  /** A folder that is to go with whoever made it; null for none. */
  readonly litter: string | null;
}
