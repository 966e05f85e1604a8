// Shows files to every command of the library, and holds what happens against what may: an answer, or a fault
// in one plain sentence, soon, with nothing left behind.

import fs from 'node:fs';
import { join } from 'node:path';
import {
  check,
  compare,
  diff,
  Fault,
  info,
  list,
  remove,
  restore,
  take,
  verify,
} from '../../snapshot/index.js';

const SLOW_MS = 1000;
/** A busy machine may be slow, but not so often in a row at the same thing. */
const SLOW_TRIES = 3;

/** How one call ended. */
export interface Ending {
  readonly what: string;
  readonly ms: number;
  /** What was thrown; undefined when it resolved. */
  readonly fault: Fault | undefined;
}

/** Faults that say that something unforeseen was thrown below: not what a hostile file may bring about. */
const isUnforeseen = ({ code, details }: Fault): boolean =>
  code === 'stage-failed' || (code === 'io-failed' && details.operation === 'read');

const complaintOf = (fault: Fault): string | undefined => {
  if (isUnforeseen(fault)) return `it is not foreseen: ${fault.message}`;
  const crooked = [fault.message, fault.advice].find((text) => !/^[^\p{Cc}]+$/u.test(text));
  return crooked === undefined ? undefined : `this is not one line: ${JSON.stringify(crooked)}`;
};

/** A folder with one store in it, which is shown around. */
export class Ordeal {
  readonly store: string;
  readonly #folder: string;
  readonly #image: string;
  readonly #copy: string;
  readonly #output: string;
  #held: Buffer = Buffer.alloc(0);
  #size = 0;
  #found: Buffer = Buffer.alloc(0);

  constructor(folder: string, image: Buffer) {
    this.#folder = folder;
    const inFolder = (name: string): string => join(folder, name);
    this.store = inFolder('store');
    this.#image = inFolder('image');
    this.#copy = inFolder('copy');
    this.#output = inFolder('out');
    fs.writeFileSync(this.#image, image);
  }

  /** Makes the store hold these bytes, and zeros up to `size` or no more than that. */
  hold(raw: Buffer, size = raw.length): void {
    this.#held = raw.subarray(0, size);
    this.#size = size;
    this.#write(this.store);
  }

  /** Over what is there: to truncate a file and write it anew makes ext4 wait for the disk. */
  #write(path: string): void {
    const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT);
    try {
      const { size } = fs.fstatSync(fd);
      fs.writeSync(fd, this.#held, 0, this.#held.length, 0);
      if (size > this.#held.length) fs.ftruncateSync(fd, this.#held.length);
      if (this.#size > this.#held.length) fs.ftruncateSync(fd, this.#size);
    } finally {
      fs.closeSync(fd);
    }
  }

  /** Runs one call; throws an error of its own when it does what none may do. */
  async #run(what: string, call: () => Promise<unknown>): Promise<Ending> {
    for (let tries = 1; ; tries += 1) {
      const began = performance.now();
      const fault = await call().then(
        () => undefined,
        (error: unknown) => {
          if (error instanceof Fault) return error;
          throw new Error(`${what} throws what is not a fault: ${String(error)}`, { cause: error });
        },
      );
      const ms = performance.now() - began;
      const complaint = fault && complaintOf(fault);
      if (complaint) throw new Error(`${what}: ${complaint}`, { cause: fault });
      if (ms <= SLOW_MS) return { what, ms, fault };
      if (tries === SLOW_TRIES) throw new Error(`${what} takes ${Math.round(ms)} ms`);
    }
  }

  /** What a reader may name: what is there, or was before. */
  async #names(tags: readonly string[]): Promise<readonly string[]> {
    const snapshots = await list({ store: this.store }).catch(() => []);
    const found = snapshots.slice(0, 3).map(({ id }) => `#${id}`);
    return found.length > 0 ? found : [tags[0] ?? 'latest'];
  }

  async #restore(tags: readonly string[], skipDamaged: boolean): Promise<Ending[]> {
    const endings: Ending[] = [];
    for (const snapshot of await this.#names(tags)) {
      const { store } = this;
      const output = this.#output;
      const options = { store, snapshot, output, skipDamaged, threads: 1 };
      endings.push(
        await this.#run(`restore ${snapshot}${skipDamaged ? ' past damage' : ''}`, async () => {
          const { badList, range } = await restore({ ...options, force: true });
          if (fs.statSync(output).size !== range.length) throw new Error('a length is wrong');
          for (const path of [output, badList]) if (path) fs.rmSync(path);
        }),
      );
    }
    return endings;
  }

  /** A call that changes the store gets a copy of it. */
  #onCopy(what: string, call: (store: string) => Promise<unknown>): Promise<Ending> {
    return this.#run(what, async () => {
      this.#write(this.#copy);
      try {
        await call(this.#copy);
      } finally {
        fs.rmSync(this.#copy);
      }
    });
  }

  async #compare(tags: readonly string[]): Promise<Ending[]> {
    const { store } = this;
    const [snapshot = ''] = await this.#names(tags);
    const options = { store, snapshot, image: this.#image, threads: 1 };
    return [await this.#run('compare', () => compare(options))];
  }

  async #diff(tags: readonly string[]): Promise<Ending[]> {
    const { store } = this;
    const [from = '', to = 'latest'] = await this.#names(tags);
    return [await this.#run('diff', () => diff({ store, from, to }))];
  }

  async #remove(tags: readonly string[]): Promise<Ending[]> {
    const [first = ''] = await this.#names(tags);
    return [await this.#onCopy('remove', (store) => remove({ store, snapshots: [first] }))];
  }

  async #take(): Promise<Ending[]> {
    const options = { image: this.#image, tag: 'next', otherImage: true, threads: 1 };
    return [await this.#onCopy('take', (store) => take({ ...options, store }))];
  }

  async #look(tags: readonly string[]): Promise<Ending[]> {
    const { store } = this;
    const endings = [await this.#run('info', () => info({ store }))];
    const [snapshot] = await this.#names(tags);
    endings.push(await this.#run('info of one', () => info({ store, snapshot })));
    return endings;
  }

  readonly trials: Readonly<Record<string, (tags: readonly string[]) => Promise<Ending[]>>> = {
    look: (tags) => this.#look(tags),
    check: async () => [await this.#run('check', () => check({ store: this.store }))],
    restore: (tags) => this.#restore(tags, false),
    'restore past damage': (tags) => this.#restore(tags, true),
    verify: async () => [
      await this.#run('verify', () => verify({ store: this.store, threads: 1 })),
    ],
    compare: (tags) => this.#compare(tags),
    diff: (tags) => this.#diff(tags),
    remove: (tags) => this.#remove(tags),
    take: () => this.#take(),
  };

  /** One trial by its name, and then a look at what it left. `tags`: what the store held when it was sound. */
  async undergo(trial: string, tags: readonly string[]): Promise<Ending[]> {
    const run = this.trials[trial];
    if (!run) throw new Error(`there is no trial ${trial}`);
    const endings = await run(tags);
    const left = fs.readdirSync(this.#folder).sort().join();
    if (left !== 'image,store') throw new Error(`${trial} leaves ${left}`);
    if (!this.#isAsHeld()) throw new Error(`${trial} changes the store it reads`);
    return endings;
  }

  #isAsHeld(): boolean {
    if (this.#found.length < this.#held.length) this.#found = Buffer.alloc(this.#held.length);
    const found = this.#found.subarray(0, this.#held.length);
    const fd = fs.openSync(this.store, 'r');
    try {
      fs.readSync(fd, found, 0, found.length, 0);
    } finally {
      fs.closeSync(fd);
    }
    return found.equals(this.#held) && fs.statSync(this.store).size === this.#size;
  }
}
