// One region's take as a member of a point: it looks at everything, waits until the machine stands still, draws its line,
// and reads when it is its turn.

import fs from 'node:fs';
import { dirname } from 'node:path';
import type { Slots } from '../bulk/index.js';
import { cloneNameless, fault, reasonOf } from '../disk/index.js';
import {
  createEmitter,
  type DirtySource,
  type Epoch,
  loadSource,
  type Pools,
  type Progress,
  type SourceRequest,
  type TakeOptions,
  type TakeResult,
  take,
} from '../snapshot/index.js';
import type { Freeze, TakenRegion } from './plan.js';

/** Something that happens once, or never. */
class Moment {
  readonly reached: Promise<void>;
  isReached = false;
  #resolve: () => void = () => {};
  #reject: (error: unknown) => void = () => {};

  constructor() {
    this.reached = new Promise<void>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever waits for it hears of it.
    this.reached.catch(() => {});
  }

  reach(): void {
    this.isReached = true;
    this.#resolve();
  }

  fail(error: unknown): void {
    this.#reject(error);
  }
}

export interface MemberOptions {
  readonly region: TakenRegion;
  readonly store: string;
  readonly tag: string;
  readonly freeze: Freeze;
  /** What may have changed, as for a take. */
  readonly dirty: string | SourceRequest;
  readonly settings: Pick<TakeOptions, 'clusterSize' | 'compression' | 'level'>;
  readonly memory: number;
  readonly pools: Pools;
  readonly slots: Slots;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
  readonly onNotice: (sentence: string) => void;
}

/** A clone that is made while the machine stands still; its owner is the take. */
class Clone {
  readonly #path: string;
  #fd: number | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  make(image: number): void {
    try {
      this.#fd = cloneNameless(image, dirname(this.#path));
    } catch (error) {
      throw fault('image-unreadable', { path: this.#path, reason: reasonOf(error) }, error);
    }
  }

  get frozen(): NonNullable<Epoch['frozen']> {
    if (this.#fd === undefined) throw new Error('the clone is not made');
    return { path: `${this.#path} (clone)`, fd: this.#fd, onlyChanges: false };
  }

  close(): void {
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** A source's knowledge, and a clone to be read where the source has none of its own. */
const withClone = (source: DirtySource, clone: Clone): DirtySource => ({
  name: source.name,
  certainty: source.certainty,
  begin: async (image, since, store) => {
    const epoch = await source.begin(image, since, store);
    if (epoch.frozen) return epoch;
    const dispose = async (): Promise<void> => {
      await epoch.dispose();
      clone.close();
    };
    try {
      clone.make(image.fd);
    } catch (error) {
      await dispose();
      throw error;
    }
    return {
      id: epoch.id,
      changes: epoch.changes,
      frozen: clone.frozen,
      commit: (uuid) => epoch.commit(uuid),
      dispose,
    };
  },
});

export class Member {
  readonly region: TakenRegion;
  readonly ended: Promise<TakeResult>;
  readonly #ready = new Moment();
  readonly #gate = new Moment();
  readonly #drawn = new Moment();
  readonly #go = new Moment();
  readonly #released = new Moment();

  constructor(options: MemberOptions) {
    this.region = options.region;
    this.ended = this.#take(options);
    this.ended.catch((error: unknown) => {
      for (const moment of [this.#ready, this.#gate, this.#drawn, this.#go, this.#released])
        moment.fail(error);
    });
  }

  /** Resolves when nothing is left that could be found wrong before the line is drawn. */
  get ready(): Promise<void> {
    return this.#ready.reached;
  }

  /** Resolves when the region is read. */
  get released(): Promise<void> {
    return this.#released.reached;
  }

  /** Lets it draw its line; resolves when it is drawn. */
  async draw(): Promise<void> {
    this.#gate.reach();
    await this.#drawn.reached;
  }

  /** Lets it read, when it is its turn. */
  read(): void {
    this.#go.reach();
  }

  async #take(options: MemberOptions): Promise<TakeResult> {
    const { region, store, tag, freeze, settings, memory, pools, slots, signal } = options;
    const events = createEmitter();
    events.on('progress', options.onProgress);
    events.on('notice', options.onNotice);
    const abandoned = (): void => {
      this.#gate.fail(signal.reason);
      this.#go.fail(signal.reason);
    };
    if (signal.aborted) abandoned();
    signal.addEventListener('abort', abandoned, { once: true });
    const source = await loadSource(options.dirty);
    return take({
      ...settings,
      image: region.file.path,
      store,
      tag,
      dirty: freeze === 'reflink' ? withClone(source, new Clone(region.file.path)) : source,
      memory,
      pools,
      events,
      signal,
      ready: () => {
        this.#ready.reach();
        return this.#gate.reached;
      },
      turn: async (work) => {
        // Before its line is drawn it may have another program's snapshot to make digests of.
        if (!this.#gate.isReached) return work();
        this.#drawn.reach();
        await this.#go.reached;
        return slots.run(work, true);
      },
      released: () => this.#released.reach(),
    }).finally(() => signal.removeEventListener('abort', abandoned));
  }
}
