// Bytes lent to a user's stage in strict mode: a copy, overwritten when the stage returns. What it kept of them is
// rubbish when it looks at it again, and what it writes there is noticed.

/** What bytes are overwritten with that were given back. */
const BLANK = 0xdb;

export class Loan {
  readonly #bytes: Buffer;
  readonly #blank: Buffer;

  /** `bytes` are what is lent, again and again. */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#blank = Buffer.alloc(bytes.length, BLANK);
    this.giveBack();
  }

  /** True when nobody has written to it since it was given back. */
  get untouched(): boolean {
    return this.#bytes.equals(this.#blank);
  }

  /** True when nobody has written behind the first `from` bytes. */
  untouchedFrom(from: number): boolean {
    return this.#bytes.subarray(from).equals(this.#blank.subarray(from));
  }

  /** A copy of `bytes`, for as long as a call takes. */
  lend(bytes: Buffer): Buffer {
    bytes.copy(this.#bytes);
    return this.#bytes.subarray(0, bytes.length);
  }

  giveBack(): void {
    this.#blank.copy(this.#bytes);
  }
}
