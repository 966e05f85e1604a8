// write: puts plain clusters and payloads at the places the allocator gave them. What lies side by
// side in the slab and in the store goes out as one write.

import { attachFile, type File, type FileSpec } from '../disk/index.js';
import { type Batch, Kind, stage } from '../pipeline/index.js';

/** Bytes that are adjacent both in memory and in the store. */
class Segment {
  readonly #file: File;
  readonly #memory: Buffer;
  #from = 0;
  #to = 0;
  #place = 0;

  constructor(file: File, memory: Buffer) {
    this.#file = file;
    this.#memory = memory;
  }

  add(from: number, length: number, place: number): void {
    if (from !== this.#to || place !== this.#place + (this.#to - this.#from)) {
      this.flush();
      this.#from = from;
      this.#place = place;
    }
    this.#to = from + length;
  }

  flush(): void {
    if (this.#to > this.#from)
      this.#file.write(this.#memory.subarray(this.#from, this.#to), this.#place);
    this.#from = this.#to;
  }
}

/** Only a batch with something to store goes through a thread. */
export const hasData = (batch: Batch): boolean => batch.has(Kind.plain) || batch.has(Kind.packed);

export default stage<FileSpec>({
  name: 'write',
  summary: 'writes what is new to its place in the store',
  open: (spec) => {
    const file = attachFile(spec);
    return {
      batch(batch) {
        const { clusterSize } = batch.layout;
        const plain = new Segment(file, batch.data);
        const packed = new Segment(file, batch.packed);
        for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
          const place = batch.places[i] as number;
          if (batch.kinds[i] === Kind.plain) plain.add(batch.startOf(i), clusterSize, place);
          else if (batch.kinds[i] === Kind.packed) {
            packed.add(batch.starts[i] as number, batch.lengths[i] as number, place);
          }
        }
        plain.flush();
        packed.flush();
      },
    };
  },
});
