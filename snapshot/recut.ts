// From the batches of one run to those of another, whose clusters may have another size: bytes go in in image
// order, and come out in leased batches that begin on the other run's cluster boundaries.

import { fault, roundUp } from '../disk/index.js';
import { type Batch, Kind, type SlabPool } from '../pipeline/index.js';
import type { DigestReader } from '../qcow2/index.js';

export class Recut {
  readonly #slabs: SlabPool;
  readonly #imageSize: number;
  readonly #known: DigestReader | undefined;
  /** The batch that is being filled, and how many of its bytes are. */
  #open: Batch | undefined;
  #filled = 0;
  readonly #ready: Batch[] = [];
  #ended = false;
  #abandoned = false;
  #failure: unknown;
  #wake: (() => void) | undefined;

  /**
   * For an image of `imageSize` bytes. `known`: the digests to be put beside the clusters; undefined when there
   * is no parent, and bytes that do not come are then zeros.
   */
  constructor(slabs: SlabPool, imageSize: number, known: DigestReader | undefined) {
    this.#slabs = slabs;
    this.#imageSize = imageSize;
    this.#known = known;
  }

  /** What the second run reads. */
  async *batches(): AsyncGenerator<Batch> {
    for (;;) {
      const batch = this.#ready.shift();
      if (batch) {
        yield batch;
        continue;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #notify(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  #handOver(): void {
    const batch = this.#open;
    if (!batch) return;
    const { offset } = batch;
    this.#fillTo(Math.min(this.#imageSize, roundUp(offset + this.#filled, this.#clusterSize)));
    this.#open = undefined;
    batch.begin(offset, this.#filled);
    if (this.#known) {
      this.#known.read(offset / this.#clusterSize, batch.count, batch.known);
    } else batch.known.fill(0);
    this.#ready.push(batch);
    this.#notify();
  }

  /** Takes over the bytes of a batch of the first run. None of it is damaged. */
  async take(from: Batch): Promise<void> {
    for (let i = 0; i < from.count; i += 1) {
      if (from.kinds[i] === Kind.zero) from.cluster(i).fill(0);
    }
    for (let done = 0; done < from.length; ) {
      const into = await this.#batchFor(from.offset + done);
      const some = Math.min(from.length - done, into.data.length - this.#filled);
      from.data.copy(into.data, this.#filled, done, done + some);
      this.#filled += some;
      done += some;
      if (this.#filled === into.data.length) this.#handOver();
    }
  }

  get #clusterSize(): number {
    return this.#slabs.layout.clusterSize;
  }

  /** Goes on to image byte `to` in the open batch, with zeros. */
  #fillTo(to: number): void {
    const batch = this.#open as Batch;
    const end = to - batch.offset;
    if (end === this.#filled) return;
    if (this.#known) throw new Error('what does not come is not known to be zeros');
    batch.data.fill(0, this.#filled, end);
    this.#filled = end;
  }

  /** The batch that image byte `at` goes to, right behind what is in it. */
  async #batchFor(at: number): Promise<Batch> {
    const start = at - (at % this.#clusterSize);
    // Its last cluster is not complete yet, and `at` lies in it.
    const goesOn = this.#open !== undefined && start < this.#open.offset + this.#filled;
    if (this.#open && !goesOn && this.#open.offset + this.#filled !== at) this.#handOver();
    if (!this.#open) {
      const batch = await this.#slabs.lease();
      if (this.#abandoned) throw fault('cancelled', { by: 'the other side' });
      batch.begin(start, this.#clusterSize);
      this.#filled = 0;
      this.#open = batch;
    }
    this.#fillTo(at);
    return this.#open;
  }

  /** No more bytes come; with `failure`, since something went wrong. */
  end(failure?: unknown): void {
    if (failure === undefined) this.#handOver();
    this.#failure = failure;
    this.#ended = true;
    this.#notify();
  }

  /** Nobody takes any more. */
  abandon(): void {
    this.#abandoned = true;
  }
}
