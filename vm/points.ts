// The folder of a machine's points:
//
//     memory/ID.qcow2     one store for each memory backend
//     state.qcow2         the store of the device states
//     points/TAG.json     a manifest for each point
//     points/TAG.begun    a point that is being taken, or of which only a part is there
//     points/TAG.state    the device state as it came from QEMU, until it is in its store
//     watchdog.log        what the watchdog had to do
//
// A point is begun by its mark, then come the snapshots, then the manifest, then the mark goes. So whatever a run that
// was killed has left can be told from what is whole, and the next run removes it.

import fs from 'node:fs';
import { join, relative } from 'node:path';
import * as z from 'zod/mini';
import { errnoOf, Fault, fault, ioFault, lockAlone, reasonOf, syncFolder } from '../disk/index.js';
import { checkTag, leakNotice, list, remove } from '../snapshot/index.js';
import { type Manifest, type Member, readManifest, writeManifest } from './manifest.js';

/** With ".begun" it must be a file's name. */
const MAX_TAG_BYTES = 200;
const MANIFEST = '.json';
const BEGUN = '.begun';

/** A store's path within the folder. */
const STORE = /^(?:state|memory\/[A-Za-z][A-Za-z0-9._-]*)\.qcow2$/;

/** One snapshot of a point: by its uuid, or while it is being taken by its tag. */
export interface Part {
  readonly store: string;
  readonly snapshot: string;
}

const begunParts = z.array(z.tuple([z.string().check(z.regex(STORE)), z.string()]));

/** Refuses a tag that could not be the name of a file as well. */
export const checkPointTag = (tag: string): void => {
  checkTag(undefined, tag);
  const reason = tag.includes('/')
    ? 'it holds a slash'
    : tag.startsWith('.')
      ? 'it begins with a dot'
      : Buffer.byteLength(tag) > MAX_TAG_BYTES
        ? `it is longer than ${MAX_TAG_BYTES} bytes`
        : undefined;
  if (reason !== undefined) throw fault('tag-invalid', { tag, reason });
};

/** A point as a list shows it. */
export interface PointInfo {
  readonly tag: string;
  /** Null when the manifest cannot be read, or a member is gone. */
  readonly manifest: Manifest | null;
  /** Why it is not whole; null when it is. */
  readonly problem: string | null;
}

/** The snapshots of each store, looked up once. */
class Snapshots {
  readonly #known = new Map<string, Promise<ReadonlyMap<string, string | null>>>();

  of(store: string): Promise<ReadonlyMap<string, string | null>> {
    const known = this.#known.get(store) ?? this.#load(store);
    this.#known.set(store, known);
    return known;
  }

  async #load(store: string): Promise<ReadonlyMap<string, string | null>> {
    if (!fs.existsSync(store)) return new Map();
    const snapshots = await list({ store });
    return new Map(snapshots.flatMap(({ uuid, root }) => (uuid ? [[uuid, root]] : [])));
  }
}

type Listener = (sentence: string) => void;

export class PointsFolder {
  readonly path: string;
  #lock: number | undefined;

  readonly #onNotice: Listener | undefined;

  /** `onNotice` hears what people should know of a removal that did all it could. */
  constructor(path: string, onNotice?: Listener) {
    this.path = path;
    this.#onNotice = onNotice;
  }

  memoryStore(id: string): string {
    return join(this.path, 'memory', `${id}.qcow2`);
  }

  get stateStore(): string {
    return join(this.path, 'state.qcow2');
  }

  get log(): string {
    return join(this.path, 'watchdog.log');
  }

  stateFile(tag: string): string {
    return this.#file(tag, '.state');
  }

  #file(tag: string, suffix: string): string {
    return join(this.path, 'points', `${tag}${suffix}`);
  }

  /** Makes the folder if need be, keeps others out of it until `close`, and removes halves of points. */
  async open(): Promise<void> {
    try {
      for (const name of ['memory', 'points']) {
        fs.mkdirSync(join(this.path, name), { recursive: true, mode: 0o700 });
      }
      this.#lock = fs.openSync(join(this.path, '.lock'), 'a+', 0o600);
    } catch (error) {
      throw ioFault(error, this.path, 'open');
    }
    const holder = lockAlone(this.#lock, this.path);
    if (holder !== undefined) throw fault('points-busy', { folder: this.path, holder });
    for (const tag of this.#tagsWith(BEGUN)) await this.abandon(tag);
  }

  close(): void {
    if (this.#lock !== undefined) fs.closeSync(this.#lock);
    this.#lock = undefined;
  }

  /** The tags of files with an ending, oldest first. */
  #tagsWith(suffix: string): string[] {
    const folder = join(this.path, 'points');
    let names: string[];
    try {
      names = fs.readdirSync(folder).filter((name) => name.endsWith(suffix));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw ioFault(error, folder, 'read');
    }
    return names
      .map((name) => ({ name, at: fs.statSync(join(folder, name)).mtimeMs }))
      .sort((a, b) => a.at - b.at)
      .map(({ name }) => name.slice(0, -suffix.length));
  }

  has(tag: string): boolean {
    return fs.existsSync(this.#file(tag, MANIFEST));
  }

  /** Refuses a tag that a snapshot has which is no part of a point: what is half of one is removed by its tag. */
  async checkFree(tag: string, stores: readonly string[]): Promise<void> {
    for (const store of stores.filter((path) => fs.existsSync(path))) {
      const taken = (await list({ store })).some((snapshot) => snapshot.tag === tag);
      if (taken) throw fault('tag-taken', { tag, store });
    }
  }

  /** Says, durably, that these snapshots are a point's only when its manifest is there. */
  begin(tag: string, parts: readonly Part[]): void {
    const path = this.#file(tag, BEGUN);
    const names = parts.map(({ store, snapshot }) => [relative(this.path, store), snapshot]);
    try {
      const fd = fs.openSync(path, 'wx', 0o600);
      fs.writeFileSync(fd, JSON.stringify(names));
      fs.fsyncSync(fd);
      fs.closeSync(fd);
      syncFolder(path);
    } catch (error) {
      throw ioFault(error, path, 'write');
    }
  }

  /** Publishes a point that was begun. */
  publish(manifest: Manifest): void {
    const path = this.#file(manifest.tag, MANIFEST);
    try {
      writeManifest(path, manifest);
    } catch (error) {
      throw ioFault(error, path, 'write');
    }
    this.#forget(manifest.tag);
  }

  /** Removes a point that was begun, but for one that is whole: of that, only the mark. */
  async abandon(tag: string): Promise<void> {
    if (!this.has(tag)) {
      for (const part of this.#begunParts(tag)) await this.#drop(part);
    }
    this.#forget(tag);
  }

  /** Removes a snapshot, where it is there. */
  async #drop({ store, snapshot }: Part): Promise<void> {
    if (!fs.existsSync(store)) return;
    const snapshots = await list({ store });
    if (!snapshots.some(({ tag, uuid }) => tag === snapshot || uuid === snapshot)) return;
    const { leaked } = await remove({ store, snapshots: [snapshot] });
    const leak = leakNotice(leaked);
    if (leak) this.#onNotice?.(`${relative(this.path, store)}: ${leak}`);
  }

  #forget(tag: string): void {
    for (const suffix of ['.state', `${MANIFEST}.new`, BEGUN]) {
      fs.rmSync(this.#file(tag, suffix), { force: true });
    }
  }

  #begunParts(tag: string): Part[] {
    try {
      const names = begunParts.parse(JSON.parse(fs.readFileSync(this.#file(tag, BEGUN), 'utf8')));
      return names.map(([name, snapshot]) => ({ store: join(this.path, name), snapshot }));
    } catch {
      // A mark that was never written to its end: nothing had been begun.
      return [];
    }
  }

  /** Refuses a tag that no point has. */
  check(tag: string): void {
    checkPointTag(tag);
    if (!this.has(tag)) throw this.#unknown(tag);
  }

  /** Removes a whole point: its manifest first, so that no half of it is ever listed. */
  async remove(tag: string): Promise<void> {
    const manifest = this.#file(tag, MANIFEST);
    this.begin(tag, this.#partsOf(tag));
    fs.rmSync(manifest);
    syncFolder(manifest);
    await this.abandon(tag);
  }

  /** The snapshots of a point; of one whose manifest cannot be read, all with its tag. */
  #partsOf(tag: string): Part[] {
    try {
      const { regions, state } = readManifest(this.#file(tag, MANIFEST), tag, this.path);
      const parts = regions.map(({ id, snapshot }) => ({ store: this.memoryStore(id), snapshot }));
      if (state) parts.push({ store: this.stateStore, snapshot: state.snapshot });
      return parts;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      const folder = join(this.path, 'memory');
      const names = fs.readdirSync(folder).filter((name) => STORE.test(`memory/${name}`));
      const stores = [...names.map((name) => join(folder, name)), this.stateStore];
      return stores.map((store) => ({ store, snapshot: tag }));
    }
  }

  #unknown(wanted: string): Fault {
    const known = this.#tagsWith(MANIFEST).slice(-8).join(', ');
    return fault('point-unknown', { wanted, folder: this.path, known });
  }

  /** All points, oldest first; those that were begun and not ended are none. */
  async list(): Promise<PointInfo[]> {
    if (!fs.existsSync(this.path)) throw ioFault(new Error('it does not exist'), this.path, 'read');
    const snapshots = new Snapshots();
    const points: PointInfo[] = [];
    for (const tag of this.#tagsWith(MANIFEST)) {
      try {
        points.push({ tag, manifest: await this.#whole(tag, snapshots), problem: null });
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        const { problem } = error.details;
        points.push({ tag, manifest: null, problem: String(problem ?? reasonOf(error)) });
      }
    }
    return points;
  }

  /** The manifest of a point that is whole: all its snapshots are there, and are what they were. */
  async manifest(tag: string): Promise<Manifest> {
    this.check(tag);
    return await this.#whole(tag, new Snapshots());
  }

  async #whole(tag: string, snapshots: Snapshots): Promise<Manifest> {
    const manifest = readManifest(this.#file(tag, MANIFEST), tag, this.path);
    const { regions, state } = manifest;
    const members: (readonly [string, string, Member])[] = regions.map((region) => [
      `the snapshot of ${region.id}`,
      this.memoryStore(region.id),
      region,
    ]);
    if (state) members.push(['the device state', this.stateStore, state]);
    for (const [what, store, { snapshot, root }] of members) {
      const found = (await snapshots.of(store)).get(snapshot);
      const name = relative(this.path, store);
      const problem =
        found === undefined
          ? `${what} is missing in ${name}`
          : found === root
            ? undefined
            : `${what} in ${name} is not the one that was taken`;
      if (problem !== undefined) throw fault('point-damaged', { tag, folder: this.path, problem });
    }
    return manifest;
  }
}
