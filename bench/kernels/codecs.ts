// The codecs at each cluster size and level: what a processor encodes and decodes, and how small it gets.

import { type Codec, openCodec, type PackedCodec } from '../../stages/index.js';
import type { Job } from '../job.js';
import { digestOf } from '../measure/check.js';
import type { Laps, Result } from '../result.js';
import { CLUSTER_SIZES, type Kernel, kernelCase, SIZE_AXIS, sample } from './kernels.js';

export const CODECS: readonly (readonly [codec: PackedCodec, level?: number])[] = [
  ['lz4'],
  ['zstd', -20],
  ['zstd', -5],
  ['zstd', -1],
  ['zstd', 1],
  ['zstd', 3],
  ['zstd', 9],
  ['zlib', 1],
  ['zlib', 6],
];

/** A codec at work on a sample, cluster by cluster. */
class Coding {
  readonly name: string;
  readonly clusterSize: number;
  readonly #codec: Codec;
  readonly #bytes: Buffer;
  readonly #payloads: Buffer;
  readonly #decoded: Buffer;
  readonly lengths: number[] = [];

  constructor(name: string, codec: Codec, bytes: Buffer, clusterSize: number) {
    this.name = name;
    this.clusterSize = clusterSize;
    this.#codec = codec;
    this.#bytes = bytes;
    this.#payloads = Buffer.alloc(bytes.length);
    this.#decoded = Buffer.from(bytes);
  }

  #part(of: Buffer, i: number, length = this.clusterSize): Buffer {
    return of.subarray(i * this.clusterSize, i * this.clusterSize + length);
  }

  get #count(): number {
    return this.#bytes.length / this.clusterSize;
  }

  encode(): void {
    for (let i = 0; i < this.#count; i += 1) {
      const into = this.#part(this.#payloads, i, this.clusterSize - 1);
      this.lengths[i] = this.#codec.encode(this.#part(this.#bytes, i), into);
    }
  }

  decode(): void {
    for (let i = 0; i < this.#count; i += 1) {
      const length = this.lengths[i] as number;
      // What did not get smaller is stored as it is.
      if (length === 0) continue;
      this.#codec.decode(this.#part(this.#payloads, i, length), this.#part(this.#decoded, i));
    }
  }

  /** Bytes that would be stored. */
  get stored(): number {
    return this.lengths.reduce((sum, length) => sum + (length || this.clusterSize), 0);
  }

  /** What was encoded, once it has been decoded to what it was made of. */
  prove(): string {
    this.#decoded.fill(0);
    for (let i = 0; i < this.#count; i += 1) {
      if (this.lengths[i] === 0) this.#part(this.#bytes, i).copy(this.#part(this.#decoded, i));
    }
    this.decode();
    if (!this.#decoded.equals(this.#bytes))
      throw new Error(`${this.name} decodes to something else`);
    return digestOf(...this.lengths.map((length, i) => this.#part(this.#payloads, i, length)));
  }
}

const codings = async (job: Job): Promise<Coding[]> => {
  const bytes = await sample(job);
  const all: Coding[] = [];
  for (const [codec, level] of CODECS) {
    const name = level === undefined ? codec : `${codec} ${level}`;
    for (const clusterSize of CLUSTER_SIZES) {
      all.push(
        new Coding(name, await openCodec({ codec, level }, clusterSize), bytes, clusterSize),
      );
    }
  }
  return all;
};

const coded = async (
  job: Job,
  verb: 'encode' | 'decode',
  all: readonly Coding[],
): Promise<Result> => {
  const kernels = all.map(
    (coding): Kernel => ({
      name: coding.name,
      at: coding.clusterSize,
      work: coding.clusterSize * coding.lengths.length,
      run: () => coding[verb](),
    }),
  );
  const result = await kernelCase(job, verb, `${verb}, on one thread`, SIZE_AXIS, kernels, () =>
    digestOf(...all.map((coding) => coding.prove())),
  );
  const made = (laps: Laps, i: number): Laps => ({ ...laps, made: all[i]?.stored });
  return { ...result, laps: result.laps.map(made) };
};

const prepared = async (job: Job): Promise<Coding[]> => {
  const all = await codings(job);
  for (const coding of all) coding.encode();
  return all;
};

export const encode = async (job: Job): Promise<Result> =>
  coded(job, 'encode', await prepared(job));

export const decode = async (job: Job): Promise<Result> =>
  coded(job, 'decode', await prepared(job));
