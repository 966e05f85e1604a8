// Cuts what comes in over a socket into lines, none longer than it may be.

const NEWLINE = 0x0a;

export class LineReader {
  readonly #limit: number;
  #parts: Buffer[] = [];
  #held = 0;

  /** `limit`: bytes of the longest line. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The lines that end in this piece; undefined when one is longer than the limit. */
  push(piece: Buffer): string[] | undefined {
    const lines: string[] = [];
    let from = 0;
    for (let at = piece.indexOf(NEWLINE); at >= 0; at = piece.indexOf(NEWLINE, from)) {
      if (!this.#hold(piece.subarray(from, at))) return undefined;
      lines.push(Buffer.concat(this.#parts).toString('utf8'));
      this.#parts = [];
      this.#held = 0;
      from = at + 1;
    }
    return this.#hold(piece.subarray(from)) ? lines : undefined;
  }

  #hold(part: Buffer): boolean {
    this.#held += part.length;
    if (part.length > 0) this.#parts.push(part);
    return this.#held <= this.#limit;
  }
}
