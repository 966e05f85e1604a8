// The examiner of dirty sources: what every source must hold, whoever wrote it. It knows the truth, since it keeps a
// copy of the image as it was when a line was drawn: every byte that differs from it must be named.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import type { Changes, DirtySource, Epoch, Since, TrackedImage } from '../dirty/index.js';
import { type Extent, fileIdentity } from '../disk/index.js';
import { PATTERNS } from './patterns.js';
import type { Examiner } from './runner.js';

/** A place in which a source can be tried: one image, and whatever watches it. */
export interface SourceWorld {
  /** Path of the image. */
  readonly image: string;
  readonly source: DirtySource;
  /** Writes to the image in the way that the source is to notice. */
  write(offset: number, bytes: Uint8Array): void | Promise<void>;
  /** What has to be done before a line is drawn: a tracker may have to say what it knows. */
  beforeLine?(): void | Promise<void>;
  /** What has to be done when a take has succeeded: a tracker may have to begin anew. */
  afterCommit?(): void | Promise<void>;
  /** The same source, as a process sees it that begins now. */
  reopen(): DirtySource | Promise<DirtySource>;
  close?(): void | Promise<void>;
}

/** A kind of source under examination. */
export interface SourceSubject {
  readonly name: string;
  /** The unit of what the source names, in bytes: a source that is exact names nothing else. */
  readonly unit: number;
  /** Makes a world with a new image of so many bytes, which the world may fill as it likes. */
  make(imageBytes: number): SourceWorld | Promise<SourceWorld>;
  /** Chooses what is written, and where. Default: a random number, which is said. */
  readonly seed?: number;
}

const IMAGE_BYTES = 3 * 2 ** 20 + 4096 * 5;
const ROUNDS = 6;

/** One world, and what is true of it. */
class Trial {
  readonly #world: SourceWorld;
  #source: DirtySource;
  /** The image as it was when the line of the last committed epoch was drawn. */
  #truth: Buffer = Buffer.alloc(0);
  #since: Since | undefined;

  constructor(world: SourceWorld) {
    this.#world = world;
    this.#source = world.source;
  }

  /** Path of the image. */
  get image(): string {
    return this.#world.image;
  }

  get certainty(): DirtySource['certainty'] {
    return this.#source.certainty;
  }

  /** The snapshot that was taken last. */
  get since(): Since {
    assert(this.#since, 'nothing has been committed');
    return this.#since;
  }

  get truth(): Buffer {
    return this.#truth;
  }

  write(offset: number, bytes: Uint8Array): void | Promise<void> {
    return this.#world.write(offset, bytes);
  }

  async restart(): Promise<void> {
    this.#source = await this.#world.reopen();
  }

  /** Draws a line and hands over what is to be known of it; disposes of it in the end. */
  async line<T>(
    since: Since | undefined,
    use: (epoch: Epoch, image: Buffer) => T | Promise<T>,
  ): Promise<T> {
    await this.#world.beforeLine?.();
    const fd = fs.openSync(this.#world.image, 'r');
    try {
      const image: TrackedImage = {
        path: this.#world.image,
        realPath: fs.realpathSync(this.#world.image),
        fd,
        size: fs.fstatSync(fd).size,
        identity: fileIdentity(fd),
      };
      const epoch = await this.#source.begin(image, since);
      try {
        assert(Buffer.byteLength(epoch.id) <= 100, 'the id of an epoch has at most 100 bytes');
        return await use(epoch, readAll(epoch.frozen?.fd ?? fd, image.size));
      } finally {
        await epoch.dispose();
      }
    } finally {
      fs.closeSync(fd);
    }
  }

  /** What is claimed to have changed since `truth`; what is known must cover it. */
  claim(since: Since, truth: Buffer): Promise<Changes> {
    return this.line(since, ({ changes }, image) => {
      if (changes.known) covers(changes, truth, image);
      return changes;
    });
  }

  /** A take that succeeds; what differs from the last one must have been named. */
  async take(): Promise<void> {
    await this.line(this.#since, async (epoch, image) => {
      if (this.#since) covers(epoch.changes, this.#truth, image);
      const uuid = randomUUID();
      const takenAt = Date.now();
      await epoch.commit(uuid);
      this.#truth = image;
      this.#since = { uuid, epoch: epoch.id, takenAt, imageSize: image.length };
    });
    await this.#world.afterCommit?.();
  }
}

const readAll = (fd: number, size: number): Buffer => {
  const bytes = Buffer.alloc(size);
  assert.equal(fs.readSync(fd, bytes, 0, size, 0), size, 'the image can be read');
  return bytes;
};

/** The extents of changes that are known; they must be sorted, disjoint and inside the image. */
const extentsOf = (changes: Changes, size: number): readonly Extent[] => {
  assert(changes.known, `the changes are known${changes.known ? '' : `: ${changes.reason}`}`);
  const extents = [...changes.extents()];
  let at = 0;
  for (const { start, end } of extents) {
    assert(
      start >= at && end > start && end <= size,
      `[${start}, ${end}) is out of order or range`,
    );
    at = end;
  }
  return extents;
};

const PIECE = 512;

/** Every byte that differs must be named. */
const covers = (changes: Changes, before: Buffer, after: Buffer): void => {
  const extents = extentsOf(changes, after.length);
  const common = Math.min(before.length, after.length);
  let i = 0;
  for (let at = 0; at < common; at += PIECE) {
    const end = Math.min(at + PIECE, common);
    if (before.subarray(at, end).equals(after.subarray(at, end))) continue;
    for (let byte = at; byte < end; byte += 1) {
      if (before[byte] === after[byte]) continue;
      while (i < extents.length && (extents[i] as Extent).end <= byte) i += 1;
      const found = extents[i];
      assert(found && found.start <= byte, `byte ${byte} has changed and is not named`);
    }
  }
};

/** True when the source does not claim to know, in whatever way it says so. */
const isModest = async (line: Promise<Changes>): Promise<boolean> => {
  try {
    return !(await line).known;
  } catch (error) {
    // A source may refuse in words of its own; what is asserted here is not the source's.
    if (error instanceof assert.AssertionError) throw error;
    return true;
  }
};

type Check = (trial: Trial, subject: SourceSubject, seed: number) => Promise<void>;

/** What is checked, by name. */
const CHECKS: Readonly<Record<string, Check>> = {
  'all that was written is named': async (trial, { unit }, seed) => {
    await trial.take();
    for (const [index, pattern] of PATTERNS.entries()) {
      for (let round = 0; round < ROUNDS; round += 1) {
        const edits = pattern(trial.truth.length, unit, seed + index * ROUNDS + round);
        for (const { offset, bytes } of edits) await trial.write(offset, bytes);
        await trial.take();
      }
    }
  },

  'an exact source names nothing else': async (trial, { unit }) => {
    await trial.take();
    await trial.take();
    const one = Buffer.from([1]);
    const places = [0, unit * 7 + 1, unit * 8 - 1, trial.truth.length - 1];
    for (const offset of places) await trial.write(offset, one);
    await trial.line(trial.since, ({ changes }, { length }) => {
      const named = extentsOf(changes, length);
      if (trial.certainty !== 'exact') return;
      for (const { start, end } of named) {
        for (let at = start - (start % unit); at < end; at += unit) {
          const isWritten = places.some((place) => place >= at && place < at + unit);
          assert(isWritten, `[${at}, ${at + unit}) is named and was not written`);
        }
      }
    });
  },

  'what a failed take was told is told again': async (trial, { unit }) => {
    await trial.take();
    for (let round = 1; round <= 3; round += 1) {
      await trial.write(unit * round * 5 + 3, Buffer.from('old'));
      await trial.line(trial.since, ({ changes }, image) => covers(changes, trial.truth, image));
      await trial.write(unit * round * 9 + 1, Buffer.from('new'));
    }
    await trial.take();
  },

  'a program that begins anew goes on': async (trial, { unit }) => {
    await trial.take();
    await trial.write(unit * 3, Buffer.from('before'));
    await trial.restart();
    await trial.write(unit * 11, Buffer.from('after'));
    await trial.take();
    await trial.restart();
    await trial.take();
  },

  'of another parent nothing is claimed': async (trial, { unit }) => {
    await trial.take();
    const { since: first, truth } = trial;
    await trial.write(unit * 2, Buffer.from('one'));
    await trial.take();
    await trial.write(unit * 4, Buffer.from('two'));
    await isModest(trial.claim(first, truth));
    const stranger = { ...trial.since, uuid: randomUUID() };
    const claim = trial.claim(stranger, truth);
    assert(await isModest(claim), 'a parent that nobody knows is believed');
    await trial.take();
  },

  'an image of the same name is another image': async (trial, { unit }) => {
    await trial.take();
    await trial.write(unit, Buffer.from('new'));
    const { image } = trial;
    fs.copyFileSync(image, `${image}.copy`);
    fs.writeFileSync(`${image}.copy`, Buffer.alloc(unit, 'other'), { flag: 'r+' });
    fs.renameSync(`${image}.copy`, image);
    const claim = trial.claim(trial.since, trial.truth);
    assert(await isModest(claim), 'another file is taken for the image');
  },

  'an image that has another length is no trap': async (trial, { unit }) => {
    await trial.take();
    const { image, since, truth } = trial;
    for (const length of [truth.length + unit * 3 + 1, truth.length - unit * 2 - 1]) {
      fs.truncateSync(image, length);
      await isModest(trial.claim(since, truth));
    }
  },

  'a line that was drawn and left does not lose changes': async (trial, { unit }) => {
    await trial.take();
    await trial.write(unit, Buffer.from('lost?'));
    const { truth, since } = trial;
    await trial.line(since, async () => {
      await trial.restart();
      await trial.write(unit * 2, Buffer.from('meanwhile'));
      await isModest(trial.claim(since, truth));
    });
  },
};

/** Examines a source: one test for each thing that must hold. */
export const examineSource = async (t: Examiner, subject: SourceSubject): Promise<void> => {
  const seed = subject.seed ?? Math.floor(Math.random() * 2 ** 31);
  for (const [name, check] of Object.entries(CHECKS)) {
    await t.test(`${subject.name}: ${name} (seed ${seed})`, async (examination) => {
      const world = await subject.make(IMAGE_BYTES);
      try {
        await check(new Trial(world), subject, seed);
        examination.pass?.('holds');
      } finally {
        await world.close?.();
      }
    });
  }
};
