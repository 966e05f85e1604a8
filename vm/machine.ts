// What a machine is made of, as far as its memory goes: what its QMP peer says, checked, and put together with what this
// host knows of the files behind it.

import type { MemoryBackend, MemoryDevice } from './commands.js';
import { findProcess, type MemoryFile, memoryFile, type QemuProcess } from './memory-file.js';
import type { Qmp } from './qmp.js';

/** What a memory backend is for. `other`: no DIMM and no RAM, so a device's, or nobody's. */
export type RegionKind = 'nvdimm' | 'virtio-pmem' | 'dimm' | 'ram' | 'other';

/** One memory backend. Sizes in bytes. */
export interface Region {
  readonly id: string;
  readonly kind: RegionKind;
  /** QEMU's type of it: "memory-backend-file", "memory-backend-ram", "memory-backend-memfd" … */
  readonly backend: string;
  readonly bytes: number;
  /** False: what the guest writes is in no file. */
  readonly share: boolean;
  /** QEMU writes it out with the care that persistent memory needs. */
  readonly pmem: boolean;
  readonly readonly: boolean;
  /** Null where the memory is not that of a file with a name. */
  readonly file: MemoryFile | null;
  /** The device that shows it to the guest, and where; null where there is none, or it has no id. */
  readonly device: string | null;
  readonly guestAddress: number | null;
  readonly slot: number | null;
  readonly node: number | null;
  /** An NVDIMM's labels, at the end of its memory. */
  readonly labelBytes: number;
}

/** A disk, or the like, that is in no region. */
export interface OutsideDisk {
  readonly device: string;
  readonly file: string;
}

export interface Machine {
  readonly address: string;
  /** QEMU's word: "running", "paused", "inmigrate" … */
  readonly status: string;
  readonly running: boolean;
  readonly name: string | null;
  readonly uuid: string;
  /** As "pc-i440fx-7.2". */
  readonly type: string;
  /** As "7.2.22". */
  readonly qemu: string;
  readonly processors: number;
  /** Of the process, when it is of this host. */
  readonly pid: number | null;
  readonly memory: {
    readonly bytes: number;
    readonly maxBytes: number | null;
    readonly slots: number | null;
    /** The backend of the RAM; null for one per NUMA node. */
    readonly backend: string | null;
  };
  readonly regions: readonly Region[];
  /** Disks that the guest can write to. */
  readonly disks: readonly OutsideDisk[];
  /** Why QEMU could not save its state now, in its own words. */
  readonly blockers: readonly string[];
}

const idOfPath = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

const textOr = (value: unknown): string | null =>
  typeof value === 'string' && value !== '' ? value : null;
const wholeOr = (value: unknown): number | null =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null;

/** Properties of an object that it may or may not have. */
class Properties {
  readonly #qmp: Qmp;
  readonly #path: string;
  readonly #names: ReadonlySet<string>;

  private constructor(qmp: Qmp, path: string, names: ReadonlySet<string>) {
    this.#qmp = qmp;
    this.#path = path;
    this.#names = names;
  }

  static async of(qmp: Qmp, path: string): Promise<Properties> {
    const list = await qmp.execute('qom-list', { path });
    return new Properties(qmp, path, new Set(list.map(({ name }) => name)));
  }

  /** Undefined where there is no such property. */
  async get(property: string): Promise<unknown> {
    if (!this.#names.has(property)) return undefined;
    return await this.#qmp.execute('qom-get', { path: this.#path, property });
  }
}

const kindOf = (
  id: string,
  device: MemoryDevice | undefined,
  ramBackend: string | null,
): RegionKind => {
  if (device?.type === 'nvdimm' || device?.type === 'virtio-pmem') return device.type;
  if (device) return 'dimm';
  // Without a backend for all RAM, there is one for each NUMA node.
  return ramBackend === null || ramBackend === id ? 'ram' : 'other';
};

interface Surroundings {
  readonly types: ReadonlyMap<string, string>;
  readonly devices: readonly MemoryDevice[];
  readonly ramBackend: string | null;
  readonly process: QemuProcess;
}

const regionOf = async (
  qmp: Qmp,
  { id = '', size, share }: MemoryBackend,
  { types, devices, ramBackend, process }: Surroundings,
): Promise<Region> => {
  const properties = await Properties.of(qmp, `/objects/${id}`);
  const device = devices.find(({ data }) => data.memdev === `/objects/${id}`);
  const kind = kindOf(id, device, ramBackend);
  const path = textOr(await properties.get('mem-path'));
  const data = device?.data;
  const labels = kind === 'nvdimm' && data?.size !== undefined ? size - data.size : 0;
  return {
    id,
    kind,
    backend: types.get(id) ?? 'unknown',
    bytes: size,
    share,
    pmem: (await properties.get('pmem')) === true,
    readonly: (await properties.get('readonly')) === true,
    file: path === null ? null : memoryFile(path, process),
    device: data?.id ?? null,
    guestAddress: data?.addr ?? data?.memaddr ?? null,
    slot: data?.slot ?? null,
    node: data?.node ?? null,
    labelBytes: Math.max(0, labels),
  };
};

const memoryOf = async (qmp: Qmp, machine: Properties): Promise<Machine['memory']> => {
  const summary = await qmp.execute('query-memory-size-summary');
  const asked = await machine.get('memory');
  const values = typeof asked === 'object' && asked !== null ? asked : {};
  const of = (key: string): number | null => wholeOr((values as Record<string, unknown>)[key]);
  const backend = textOr(await machine.get('memory-backend'));
  return {
    bytes: summary['base-memory'],
    maxBytes: of('max-size'),
    slots: of('slots'),
    backend: backend === null ? null : idOfPath(backend),
  };
};

const disksOf = async (qmp: Qmp): Promise<OutsideDisk[]> => {
  const disks = await qmp.execute('query-block');
  return disks.flatMap(({ device, qdev, inserted }) =>
    inserted && !inserted.ro ? [{ device: device || qdev || '?', file: inserted.file }] : [],
  );
};

/** The types of all objects, by id. */
const objectTypes = async (qmp: Qmp): Promise<Map<string, string>> => {
  const objects = await qmp.execute('qom-list', { path: '/objects' });
  return new Map(
    objects.map(({ name, type }) => [name, type.replace(/^child<(.*)>$/, '$1')] as const),
  );
};

/** Looks at a machine; changes nothing. */
export const describeMachine = async (qmp: Qmp): Promise<Machine> => {
  const { status, running } = await qmp.execute('query-status');
  const machine = await Properties.of(qmp, '/machine');
  const memory = await memoryOf(qmp, machine);
  const processors = await qmp.execute('query-cpus-fast');
  const process = findProcess(processors.map((each) => each['thread-id']));
  const surroundings: Surroundings = {
    types: await objectTypes(qmp),
    devices: await qmp.execute('query-memory-devices'),
    ramBackend: memory.backend,
    process,
  };
  const regions: Region[] = [];
  for (const backend of await qmp.execute('query-memdev')) {
    if (backend.id !== undefined) regions.push(await regionOf(qmp, backend, surroundings));
  }
  const { qemu } = qmp.version ?? { qemu: { major: 0, minor: 0, micro: 0 } };
  return {
    address: qmp.address,
    status,
    running,
    name: (await qmp.execute('query-name')).name ?? null,
    uuid: (await qmp.execute('query-uuid')).UUID,
    type: (textOr(await machine.get('type')) ?? 'unknown').replace(/-machine$/, ''),
    qemu: `${qemu.major}.${qemu.minor}.${qemu.micro}`,
    processors: processors.length,
    pid: process.pid ?? null,
    memory,
    regions: regions.sort((a, b) => (a.id < b.id ? -1 : 1)),
    disks: await disksOf(qmp),
    blockers: (await qmp.execute('query-migrate'))['blocked-reasons'] ?? [],
  };
};
