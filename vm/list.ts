// list: what a machine's memory is, and what a point of it would be made of.

import { parseAddress } from './address.js';
import { describeMachine, type Machine, type Region } from './machine.js';
import { PointsFolder } from './points.js';
import { Qmp, type QmpOptions } from './qmp.js';
import { isPersistent, troubleOf, warningsOf } from './warnings.js';

export interface ListOptions extends QmpOptions {
  readonly qmp: string;
  /** Folder of the machine's points: then each region has the store that it goes to. */
  readonly stores?: string | undefined;
}

export interface RegionInfo extends Region {
  /** True when its content can be taken. */
  readonly takeable: boolean;
  /** True for what is taken even without the device state. */
  readonly persistent: boolean;
  readonly store: string | null;
}

export interface MachineInfo extends Omit<Machine, 'regions'> {
  readonly regions: readonly RegionInfo[];
  /** What cannot be consistent, a sentence each. */
  readonly warnings: readonly string[];
}

/** Looks at a machine; changes nothing. */
export const listMachine = async (options: ListOptions): Promise<MachineInfo> => {
  const qmp = await Qmp.connect(parseAddress(options.qmp), options);
  try {
    const machine = await describeMachine(qmp);
    const folder = options.stores === undefined ? undefined : new PointsFolder(options.stores);
    return {
      ...machine,
      regions: machine.regions.map((region) => ({
        ...region,
        takeable: troubleOf(region) === undefined,
        persistent: isPersistent(region),
        store: folder?.memoryStore(region.id) ?? null,
      })),
      warnings: warningsOf(machine),
    };
  } finally {
    qmp.close();
  }
};
