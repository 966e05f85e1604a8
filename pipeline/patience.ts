// Notices when a stage's threads have stopped answering: none of the batches that are with them has come back for some
// time.

/** A stage without a limit of its own gets so many seconds to come to an end. */
export const USUAL_PATIENCE = 60;

export class Patience {
  readonly #ms: number;
  readonly #stuck: (waited: number) => unknown;
  readonly #waiting = new Set<(reason: unknown) => void>();
  #timer: NodeJS.Timeout | undefined;

  /**
   * `stuck` makes the error that ends the waiting after `seconds` without any answer, or nothing, to wait once more; it
   * is told how many seconds it has been.
   */
  constructor(seconds: number, stuck: (waited: number) => unknown) {
    this.#ms = seconds * 1000;
    this.#stuck = stuck;
  }

  #restart(waitedMs = 0): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#waiting.size === 0) return;
    this.#timer = setTimeout(() => {
      const inAll = waitedMs + this.#ms;
      const error = this.#stuck(inAll / 1000);
      if (error === undefined) this.#restart(inAll);
      else for (const reject of this.#waiting) reject(error);
    }, this.#ms);
  }

  /** The same as `work`, but rejects when there is no answer to anything for too long. */
  async wait<T>(work: Promise<T>): Promise<T> {
    let end: ((reason: unknown) => void) | undefined;
    const stuck = new Promise<never>((_, reject) => {
      end = reject;
      this.#waiting.add(reject);
    });
    if (!this.#timer) this.#restart();
    // What comes after the end interests nobody.
    work.catch(() => {});
    try {
      return await Promise.race([work, stuck]);
    } finally {
      if (end) this.#waiting.delete(end);
      this.#restart();
    }
  }
}
