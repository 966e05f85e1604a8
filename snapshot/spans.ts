// Where little is expected to have changed, an image is read in spans: batches that stand for more of it than they have
// room for. A hop costs the same for a span as for a batch of an eighth of its size.
//
// scan cuts a span in which more has changed. What was read behind it is dropped then, since clusters come in image
// order, and reading goes on at the cut: for a while, longer each time, in batches that have room for all that they
// stand for.

import type { Extent } from '../disk/index.js';
import type { Batch, SlabPool } from '../pipeline/index.js';
import type { DigestReader } from '../qcow2/index.js';

/** So many batches with room for everything follow the first cut; after each further one twice as many. */
const FIRST_WALK = 16;
const LONGEST_WALK = 4096;

/** What was asked of a batch. */
interface Asked {
  /** The number of cuts when it was leased. */
  readonly cuts: number;
  /** Image bytes. */
  readonly length: number;
  /** True when it stands for more than it has room for. */
  readonly span: boolean;
}

export class Spans {
  readonly #extents: readonly Extent[];
  /** What was asked of the batches that are under way. */
  readonly #asked = new Map<Batch, Asked>();
  #cuts = 0;
  /** The image offset at which reading is to go on; undefined: where it is. */
  #resume: number | undefined;
  /** Batches without spans that are still to come, and how many there will be after the next cut. */
  #walk = 0;
  #nextWalk = FIRST_WALK;

  /** Ranges to be read, on cluster boundaries, in ascending order. */
  constructor(extents: readonly Extent[]) {
    this.#extents = extents;
  }

  /** Leased batches in image order; beginning again, when one was cut, where that was. `known`: the parent's digests. */
  async *source(slabs: SlabPool, known: DigestReader | undefined): AsyncGenerator<Batch> {
    const { clusterSize, clusters, room = clusters } = slabs.layout;
    const extents = this.#extents;
    let index = 0;
    let at = extents[0]?.start ?? 0;
    for (;;) {
      if (index === extents.length && !(await this.#isCut(slabs))) return;
      const batch = await slabs.lease();
      if (this.#resume !== undefined) {
        at = this.#resume;
        this.#resume = undefined;
        index = Math.min(index, extents.length - 1);
        while ((extents[index] as Extent).start > at) index -= 1;
      }
      const { end } = extents[index] as Extent;
      const span = this.#walk === 0;
      if (!span) this.#walk -= 1;
      const length = Math.min((span ? clusters : room) * clusterSize, end - at);
      batch.begin(at, length);
      if (known) known.read(at / clusterSize, batch.count, batch.known);
      else batch.known.fill(0);
      this.#asked.set(batch, { cuts: this.#cuts, length, span });
      at += length;
      if (at === end) {
        index += 1;
        at = extents[index]?.start ?? at;
      }
      yield batch;
    }
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
    } else if (span) this.#nextWalk = FIRST_WALK;
    return false;
  };
}
