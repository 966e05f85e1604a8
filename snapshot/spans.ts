// Where little has changed, or little is expected to have, an image is read in spans: batches that stand for more of it
// than they have room for. A hop costs the same for a span as for a batch of a sixteenth of its size, and the less has
// changed the longer they are. What lies between ranges that are to be read is part of a span, and omitted.
//
// scan cuts a span in which more has changed. What was read behind it is dropped then, since clusters come in image
// order, and reading goes on at the cut: for a while, longer each time, in batches that have room for all that is read.

import type { Extent } from '../disk/index.js';
import type { Batch, SlabPool } from '../pipeline/index.js';
import type { DigestReader } from '../qcow2/index.js';

/** So many times as much as there is room for is read for a span at first. */
const FIRST_ROOMS = 8;

/** A span that needed less than this share of its room is followed by longer ones, one that needed more by shorter ones. */
const LITTLE = 1 / 8;
const MUCH = 1 / 2;

/** So many batches with room for everything follow the first cut; after each further one twice as many. */
const FIRST_WALK = 16;
const LONGEST_WALK = 4096;

/** What was asked of a batch. */
interface Asked {
  /** The number of cuts when it was leased. */
  readonly cuts: number;
  /** Image bytes. */
  readonly length: number;
  /** True when more is read than it has room for. */
  readonly span: boolean;
}

/** Which of some ranges have one of `gaps` right before them, by their indices. All in ascending order, and apart. */
const behindGaps = (extents: readonly Extent[], gaps: readonly Extent[]): Set<number> => {
  const found = new Set<number>();
  let gap = 0;
  for (const [i, { start }] of extents.entries()) {
    const before = gap;
    while ((gaps[gap]?.start ?? start) < start) gap += 1;
    if (gap > before) found.add(i);
  }
  return found;
};

export class Spans {
  readonly #extents: readonly Extent[];
  /** Those with which a batch must begin. */
  readonly #heads: ReadonlySet<number>;
  readonly #mostlySame: boolean;
  /** What was asked of the batches that are under way. */
  readonly #asked = new Map<Batch, Asked>();
  #cuts = 0;
  /** The image offset at which reading is to go on; undefined: where it is. */
  #resume: number | undefined;
  /** Batches without spans that are still to come, and how many there will be after the next cut. */
  #walk = 0;
  #nextWalk = FIRST_WALK;
  /** What is read for a span, as FIRST_ROOMS. */
  #rooms = FIRST_ROOMS;
  /** Where reading is: in which range, and the image offset. */
  #index = 0;
  #at: number;

  /**
   * Ranges to be read, on cluster boundaries, in ascending order. `gaps`: those between them of which it is known that
   * they are not as the parent's, so that no batch may stand for them. `mostlySame`: most of what is read is expected to
   * be the parent's.
   */
  constructor(extents: readonly Extent[], gaps: readonly Extent[], mostlySame: boolean) {
    this.#extents = extents;
    this.#heads = behindGaps(extents, gaps);
    this.#mostlySame = mostlySame;
    this.#at = extents[0]?.start ?? 0;
  }

  /** Leased batches in image order; beginning again, when one was cut, where that was. `known`: the parent's digests. */
  async *source(slabs: SlabPool, known: DigestReader): AsyncGenerator<Batch> {
    const { clusterSize, clusters, room = clusters } = slabs.layout;
    for (;;) {
      if (this.#index === this.#extents.length && !(await this.#isCut(slabs))) return;
      const batch = await slabs.lease();
      this.#goBack();
      const span = this.#mostlySame && this.#walk === 0;
      if (this.#walk > 0) this.#walk -= 1;
      const most = span ? Math.min(clusters, this.#rooms * room) : room;
      const pieces = this.#next(clusters * clusterSize, most * clusterSize);
      const start = pieces[0]?.start ?? 0;
      const length = (pieces.at(-1)?.end ?? 0) - start;
      batch.begin(start, length);
      known.read(start / clusterSize, batch.count, batch.known);
      for (const [i, { start: end }] of pieces.entries()) {
        const from = pieces[i - 1]?.end ?? end;
        if (from < end) batch.omit((from - start) / clusterSize, (end - start) / clusterSize);
      }
      this.#asked.set(batch, { cuts: this.#cuts, length, span });
      yield batch;
    }
  }

  /** The next ranges: within `reach` bytes of the image, and of `most` bytes together. */
  #next(reach: number, most: number): Extent[] {
    const pieces: Extent[] = [];
    const stop = this.#at + reach;
    let left = most;
    while (this.#index < this.#extents.length && this.#at < stop && left > 0) {
      const { end } = this.#extents[this.#index] as Extent;
      const start = this.#at;
      this.#at = Math.min(end, stop, start + left);
      left -= this.#at - start;
      pieces.push({ start, end: this.#at });
      if (this.#at < end) break;
      this.#index += 1;
      this.#at = this.#extents[this.#index]?.start ?? end;
      if (this.#heads.has(this.#index)) break;
    }
    return pieces;
  }

  /** Goes back to where a batch was cut, if one was. */
  #goBack(): void {
    const resume = this.#resume;
    if (resume === undefined) return;
    this.#resume = undefined;
    this.#index = Math.min(this.#index, this.#extents.length - 1);
    while ((this.#extents[this.#index - 1]?.end ?? 0) > resume) this.#index -= 1;
    this.#at = Math.max(resume, (this.#extents[this.#index] as Extent).start);
  }

  /** Waits until all batches are through, or one was cut; true when one was. */
  async #isCut(slabs: SlabPool): Promise<boolean> {
    const held: Batch[] = [];
    while (this.#resume === undefined && held.length < slabs.memory.length) {
      held.push(await slabs.lease());
    }
    for (const batch of held) slabs.release(batch);
    return this.#resume !== undefined;
  }

  /** True when a batch lies behind a cut that it knows nothing of: it will come once more. Asked in image order. */
  readonly drops = (batch: Batch): boolean => {
    const { cuts, length, span } = this.#asked.get(batch) as Asked;
    if (cuts !== this.#cuts) {
      batch.shorten(0);
      return true;
    }
    if (batch.length < length) {
      this.#cuts += 1;
      this.#resume = batch.offset + batch.length;
      this.#walk = this.#nextWalk;
      this.#nextWalk = Math.min(2 * this.#nextWalk, LONGEST_WALK);
      this.#rooms = FIRST_ROOMS;
    } else if (span) {
      this.#nextWalk = FIRST_WALK;
      this.#suit(batch);
    }
    return false;
  };

  /** Makes the spans that follow as long as suits what has changed in one. */
  #suit({ held, layout: { clusters, room = clusters } }: Batch): void {
    if (held <= LITTLE * room) this.#rooms = Math.min(2 * this.#rooms, clusters / room);
    else if (held > MUCH * room) this.#rooms = Math.max(this.#rooms / 2, FIRST_ROOMS);
  }
}
