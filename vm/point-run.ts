// One point while it is taken: the takes of its regions, the pause in which their lines are drawn, and the manifest that
// binds what has come of it.

import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { runCommand, Slots, shortenCommand } from '../bulk/index.js';
import { fault, MiB, reasonOf } from '../disk/index.js';
import { list, Pools, type TakeResult, take, VERSION } from '../snapshot/index.js';
import type { Address } from './address.js';
import type { Step } from './events.js';
import type { Machine } from './machine.js';
import type { Manifest, Member as ManifestMember } from './manifest.js';
import { Member } from './member.js';
import { currentSettings, migrationEnd, NO_SETTINGS, type Settings } from './migration.js';
import { Pause } from './pause.js';
import type { TakenRegion } from './plan.js';
import type { PointsFolder } from './points.js';
import { abortReason, type Qmp } from './qmp.js';
import { StateReceiver } from './state.js';
import { type AskedPoint, dirtyOf, type PointResult } from './take-options.js';

/** One take waits for the disk while the others compute. */
const AT_ONCE = 3;
/** For the batches of all takes together. */
const MEMORY = 384 * MiB;
/** Small changes all over: the smaller the clusters, the less is stored of the next one. */
const STATE_CLUSTER = 4096;
/** What the machine makes dirty is written out before the pause, until that takes no longer than this. */
const QUICK_SYNC_MS = 50;
const MOST_SYNCS = 4;

/** Where a point goes, and of what it is taken. */
export interface PointPlace {
  readonly folder: PointsFolder;
  readonly tag: string;
  readonly qmp: Qmp;
  readonly address: Address;
  readonly machine: Machine;
  readonly regions: readonly TakenRegion[];
}

/** One run while it is under way. */
export class PointRun {
  readonly #options: AskedPoint;
  readonly #place: PointPlace;
  readonly #pools: Pools;
  readonly #slots = new Slots(AT_ONCE);
  /** Bytes for the batches of each take. */
  readonly #share: number;
  readonly #stop = new AbortController();
  #members: readonly Member[] = [];
  #takenAt = new Date();

  constructor(options: AskedPoint, place: PointPlace) {
    this.#options = options;
    this.#place = place;
    const memory = options.memory ?? MEMORY;
    this.#share = Math.floor(memory / Math.min(AT_ONCE, place.regions.length));
    this.#pools = options.pools ?? new Pools({ threads: availableParallelism(), memory });
  }

  async run(began: number): Promise<PointResult> {
    const { signal } = this.#options;
    const cancel = (): void => this.#stop.abort(signal && abortReason(signal));
    signal?.addEventListener('abort', cancel, { once: true });
    if (signal?.aborted) cancel();
    try {
      const { folder, tag, regions } = this.#place;
      const stores = regions.map(({ id }) => folder.memoryStore(id));
      if (this.#options.state === 'device') stores.push(folder.stateStore);
      await folder.checkFree(tag, stores);
      folder.begin(
        tag,
        stores.map((store) => ({ store, snapshot: tag })),
      );
      const pauseMs = await this.#freezeAll();
      return await this.#readAll(pauseMs, began);
    } catch (error) {
      this.#stop.abort(error);
      await Promise.allSettled(this.#members.map(({ ended }) => ended));
      // What cannot be removed now, the next run removes. Where nothing was begun, this finds nothing.
      await this.#place.folder.abandon(this.#place.tag).catch(() => {});
      throw error;
    } finally {
      signal?.removeEventListener('abort', cancel);
      if (this.#pools !== this.#options.pools) await this.#pools.close();
    }
  }

  #step(step: Step): void {
    this.#options.events?.emit('step', step);
  }

  #checkStop(): void {
    if (this.#stop.signal.aborted) throw abortReason(this.#stop.signal);
  }

  /** All takes, as far as they come without a line; rejects with what is wrong with any of them. */
  async #startMembers(): Promise<void> {
    this.#members = this.#place.regions.map((region) => this.#startMember(region));
    await Promise.all(this.#members.map(({ ready }) => ready));
  }

  #startMember(region: TakenRegion): Member {
    const { events, clusterSize, compression, level } = this.#options;
    return new Member({
      region,
      store: this.#place.folder.memoryStore(region.id),
      tag: this.#place.tag,
      freeze: this.#options.freeze,
      dirty: dirtyOf(this.#options, region.id),
      settings: { clusterSize, compression, level },
      memory: this.#share,
      pools: this.#pools,
      slots: this.#slots,
      signal: this.#stop.signal,
      onProgress: (progress) => events?.emit('progress', region.id, progress),
      onNotice: (sentence) => events?.emit('notice', `${region.id}: ${sentence}`),
    });
  }

  /** From a machine that runs to one that runs, with its memory frozen; resolves to the length of the pause. */
  async #freezeAll(): Promise<number | null> {
    this.#step('preparing');
    await this.#startMembers();
    if (this.#options.freeze === 'none') {
      await this.#draw();
      return null;
    }
    const device = this.#options.state === 'device';
    const settings = device ? await currentSettings(this.#place.qmp) : NO_SETTINGS;
    const receiver = device
      ? await StateReceiver.listen(
          this.#place.machine.pid,
          this.#place.folder.stateFile(this.#place.tag),
        )
      : undefined;
    try {
      if (this.#options.freeze === 'reflink') await this.#syncImages();
      return await this.#paused(settings, receiver);
    } finally {
      receiver?.close();
    }
  }

  async #paused(settings: Settings, receiver: StateReceiver | undefined): Promise<number | null> {
    this.#checkStop();
    const pause = await Pause.prepare({
      qmp: this.#place.qmp,
      address: this.#place.address,
      machine: this.#place.machine,
      settings,
      maxPauseMs: this.#options.maxPauseMs,
      litter: receiver?.place ?? null,
      log: this.#place.folder.log,
      onStep: (step) => this.#step(step),
    });
    const wentOn = (): void => this.#stop.abort(pause.signal.reason);
    pause.signal.addEventListener('abort', wentOn, { once: true });
    let pauseMs: number | null = null;
    try {
      await pause.begin();
      this.#takenAt = new Date();
      if (receiver) await this.#saveState(receiver);
      await this.#draw();
      if (this.#options.freeze === 'pause') {
        this.#read();
        await Promise.all(this.#members.map(({ released }) => released));
      }
      await this.#runHook();
      this.#checkStop();
      await pause.check();
    } finally {
      pauseMs = await pause.end();
    }
    return pauseMs;
  }

  /** Writes down the devices; all memory that is in files is left out. */
  async #saveState(receiver: StateReceiver): Promise<void> {
    this.#step('saving-state');
    await this.#place.qmp.execute('migrate', { uri: receiver.uri });
    const end = await migrationEnd(this.#place.qmp, this.#stop.signal);
    if (end !== 'completed') {
      const advice = 'Nothing was saved, and the machine goes on.';
      throw fault('vm-state-failed', { reason: `the migration ended as ${end}`, advice });
    }
    await receiver.received();
  }

  /** One after another, since some sources look at the whole process. */
  async #draw(): Promise<void> {
    this.#step('freezing');
    for (const member of this.#members) {
      this.#checkStop();
      await member.draw();
    }
  }

  #read(): void {
    for (const member of this.#members) member.read();
  }

  async #runHook(): Promise<void> {
    const { whilePaused: command, maxPauseMs, folder = process.cwd() } = this.#options;
    if (command === undefined) return;
    this.#step('hook');
    const how = await runCommand(command, {
      folder,
      environment: { NVSNAP_TAG: this.#place.tag, NVSNAP_STORES: this.#place.folder.path },
      timeoutMs: maxPauseMs,
      signal: this.#stop.signal,
    });
    this.#checkStop();
    if (how !== undefined) throw fault('hook-failed', { command: shortenCommand(command), how });
  }

  /** Writes out what is dirty while the machine runs, so that little is left for the pause. */
  async #syncImages(): Promise<void> {
    for (const { file } of this.#place.regions) {
      const fd = fs.openSync(file.path, 'r');
      try {
        for (let round = 0; round < MOST_SYNCS; round += 1) {
          this.#checkStop();
          const began = performance.now();
          await syncData(fd, file.path);
          if (performance.now() - began < QUICK_SYNC_MS) break;
        }
      } finally {
        fs.closeSync(fd);
      }
    }
  }

  async #readAll(pauseMs: number | null, began: number): Promise<PointResult> {
    this.#step('reading');
    // The machine is as it was: others may want to talk to it.
    this.#place.qmp.close();
    this.#read();
    const [results, state] = await Promise.all([
      Promise.all(this.#members.map(({ ended }) => ended)),
      this.#options.state === 'device' ? this.#takeState() : null,
    ]);
    this.#checkStop();
    this.#step('publishing');
    const uuid = randomUUID();
    await this.#publish(uuid, pauseMs, results, state);
    const all = state ? [...results, state] : results;
    return {
      stores: this.#place.folder.path,
      tag: this.#place.tag,
      uuid,
      consistent: this.#consistent,
      pauseMs,
      regions: results.map((result, i) => ({
        ...result,
        region: this.#place.regions[i]?.id ?? '',
      })),
      state,
      storedBytes: all.reduce((sum, { storedBytes }) => sum + storedBytes, 0),
      elapsedMs: Math.round(performance.now() - began),
    };
  }

  get #consistent(): boolean {
    return this.#options.freeze !== 'none' || !this.#place.machine.running;
  }

  /** The device state, as dependent snapshots of its own. */
  async #takeState(): Promise<TakeResult> {
    const store = this.#place.folder.stateStore;
    const image = this.#place.folder.stateFile(this.#place.tag);
    const fresh = fs.existsSync(store) ? {} : { clusterSize: STATE_CLUSTER };
    return await this.#slots.run(() =>
      take({
        ...fresh,
        image,
        store,
        tag: this.#place.tag,
        // What QEMU writes has no fixed places.
        dedup: 'store',
        otherImage: true,
        memory: this.#share,
        pools: this.#pools,
        signal: this.#stop.signal,
      }),
    );
  }

  async #publish(
    uuid: string,
    pauseMs: number | null,
    results: readonly TakeResult[],
    state: TakeResult | null,
  ): Promise<void> {
    const { name, uuid: machineUuid, type, qemu, processors, memory } = this.#place.machine;
    const regions: Manifest['regions'] = [];
    for (const [i, region] of this.#place.regions.entries()) {
      const { id, kind, bytes: size, pmem, device, guestAddress, slot, node, labelBytes } = region;
      const place = { pmem, device, guestAddress, slot, node, labelBytes };
      const member = await memberOf(results[i] as TakeResult);
      regions.push({ ...member, id, kind, size, path: region.file.path, ...place });
    }
    this.#place.folder.publish({
      nvsnap: 1,
      tag: this.#place.tag,
      uuid,
      takenAt: this.#takenAt.toISOString(),
      tool: VERSION,
      consistent: this.#consistent,
      pauseMs,
      machine: {
        ...{ name, uuid: machineUuid, type, qemu, processors },
        memoryBytes: memory.bytes,
        maxMemoryBytes: memory.maxBytes,
        slots: memory.slots,
        memoryBackend: memory.backend,
      },
      regions,
      state: state && (await memberOf(state)),
      disks: [...this.#place.machine.disks],
    });
  }
}

const syncData = (fd: number, path: string): Promise<void> =>
  new Promise((resolve, reject) => {
    fs.fdatasync(fd, (error) => {
      if (!error) return resolve();
      reject(fault('io-failed', { path, operation: 'sync', reason: reasonOf(error) }, error));
    });
  });

/** A snapshot as the manifest binds it. */
const memberOf = async ({ store, uuid, imageBytes }: TakeResult): Promise<ManifestMember> => {
  const found = (await list({ store })).find((snapshot) => snapshot.uuid === uuid);
  if (!found?.root) throw new Error(`${store} does not hold what was just taken`);
  return { snapshot: uuid, root: found.root, bytes: imageBytes };
};
