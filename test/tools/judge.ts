// Holds a store against what the image was at each take: stock qemu-img and our own restore must both
// give every state back, byte for byte, whatever came later.

import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Pools, restore } from '../../snapshot/index.js';
import { copyState, endsInZeros, firstDifference } from './files.js';
import { check, convertSnapshot } from './qemu.js';

/** The image as it was when a snapshot was taken. */
export interface State {
  readonly tag: string;
  readonly bytes: number;
  /** A copy of it. */
  readonly copy: string;
}

export type Reader = 'qemu-img' | 'restore';

export const BOTH: readonly Reader[] = ['qemu-img', 'restore'];

export class Judge {
  readonly store: string;
  readonly states: State[];
  readonly #folder: string;
  readonly #readers: readonly Reader[];
  #copies = 0;
  #pools: Pools | undefined;

  /** Keeps its copies in a new folder inside `folder`; may begin with states another judge keeps. */
  constructor(
    folder: string,
    store: string,
    readers: readonly Reader[] = BOTH,
    states: readonly State[] = [],
  ) {
    this.store = store;
    this.states = [...states];
    this.#folder = fs.mkdtempSync(join(folder, 'judge-'));
    this.#readers = readers;
  }

  /** Remembers the image as it is now as what snapshot `tag` must give back. */
  remember(image: string, tag: string): State {
    const copy = join(this.#folder, `state-${this.#copies}`);
    copyState(image, copy);
    this.#copies += 1;
    const state = { tag, bytes: fs.statSync(copy).size, copy };
    this.states.push(state);
    return state;
  }

  /** The snapshot is gone: nothing is expected of it any more. */
  forget(tag: string): void {
    const at = this.states.findIndex((state) => state.tag === tag);
    for (const { copy } of at < 0 ? [] : this.states.splice(at, 1)) fs.rmSync(copy);
  }

  /** Asserts that the store is clean and that all states so far come back. */
  async all(t: Test): Promise<void> {
    if (this.#readers.includes('qemu-img')) {
      const { text, ...counts } = check(this.store);
      const clean = { status: 0, corruptions: 0, leaks: 0, checkErrors: 0 };
      t.same(counts, clean, 'qemu-img check finds the store clean', { text });
    }
    for (const state of this.states) await this.one(t, state);
  }

  /** Asserts that one state comes back. */
  async one(t: Test, state: State): Promise<void> {
    for (const reader of this.#readers) {
      const out = join(this.#folder, 'out');
      try {
        if (reader === 'restore') await this.#restored(t, state, out);
        else this.#converted(t, state, out);
      } finally {
        fs.rmSync(out, { force: true });
      }
    }
  }

  /** Threads and memory for all restores of one test. */
  #poolsFor(t: Test): Pools {
    if (this.#pools) return this.#pools;
    const pools = new Pools();
    this.#pools = pools;
    t.teardown(() => {
      this.#pools = undefined;
      return pools.close();
    });
    return pools;
  }

  async #restored(t: Test, state: State, out: string): Promise<void> {
    const { store } = this;
    const pools = this.#poolsFor(t);
    const done = await restore({ store, snapshot: state.tag, output: out, pools });
    t.match(done, { tag: state.tag, imageBytes: state.bytes, verified: true });
    this.#compare(t, state, out, 'restore');
  }

  /** qemu-img knows sectors and the file's largest disk only; what is past the image must be zero. */
  #converted(t: Test, state: State, out: string): void {
    convertSnapshot(this.store, state.tag, out);
    const { size } = fs.statSync(out);
    t.ok(size >= state.bytes && size % 512 === 0, 'qemu-img gives whole sectors');
    t.ok(endsInZeros(out, state.bytes), `only zeros follow ${state.tag}`);
    fs.truncateSync(out, state.bytes);
    this.#compare(t, state, out, 'qemu-img');
  }

  #compare(t: Test, { tag, bytes, copy }: State, out: string, reader: Reader): void {
    const at = firstDifference(out, copy);
    t.ok(at === -1, `${reader} gives back ${tag}`, {
      size: { expected: bytes, found: fs.statSync(out).size },
      firstDifference: at,
    });
  }
}
