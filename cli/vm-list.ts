// nvsnap vm list

import { formatSize } from '../disk/index.js';
import { listMachine, type MachineInfo, type RegionInfo } from '../vm/index.js';
import { columns, type Screen } from './screen.js';
import { withSignals } from './stop.js';

const row = ({ id, kind, bytes, share, pmem, guestAddress, file, store }: RegionInfo): string[] => [
  id,
  kind,
  formatSize(bytes),
  share ? 'on' : 'off',
  pmem ? 'on' : 'off',
  guestAddress === null ? '-' : `0x${guestAddress.toString(16)}`,
  file?.fileSystem ?? '-',
  file?.reflink ? 'yes' : 'no',
  file?.path ?? '-',
  ...(store === null ? [] : [store]),
];

const words = (m: MachineInfo): string => {
  const name = m.name === null ? '' : ` ${m.name}`;
  const process = m.pid === null ? '' : `, process ${m.pid}`;
  const head = ['ID', 'KIND', 'SIZE', 'SHARE', 'PMEM', 'ADDRESS', 'ON', 'CLONES', 'FILE'];
  if (m.regions.some(({ store }) => store !== null)) head.push('STORE');
  return [
    `The machine${name} at ${m.address} is ${m.status}: ${m.type}, QEMU ${m.qemu}, ` +
      `${formatSize(m.memory.bytes)} of RAM${process}.`,
    m.regions.length === 0 ? 'No memory backends.' : columns(head, m.regions.map(row), [2]),
    ...m.warnings,
  ].join('\n');
};

export default async (
  _args: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const { qmp, stores } = options as { qmp: string; stores?: string };
  const machine = await withSignals((signal) => listMachine({ qmp, stores, signal }));
  screen.result(machine, words);
  return 0;
};
