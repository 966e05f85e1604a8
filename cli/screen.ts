// Words on a screen: results on standard output, everything else on standard error.

import { formatSize, oneLine } from '../disk/index.js';
import {
  createEmitter,
  Fault,
  type FaultCode,
  type Progress,
  type RunEmitter,
} from '../snapshot/index.js';
import { harmless, onlyLines } from './harmless.js';
import { type Output, standardOutput } from './output.js';

/** Options that every command takes. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly color?: boolean;
  readonly debug?: boolean;
  /** "auto" (a line on a terminal), "json" (lines on standard error), "none". */
  readonly progress?: string;
}

const BAR_CELLS = 20;
const CLEAR_LINE = '\r\u001b[K';

/** Seconds as "1:05" or "2:03:04". */
export const formatSeconds = (seconds: number): string => {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, i) => (i === 0 ? String(part) : String(part).padStart(2, '0'))).join(':');
};

/** Milliseconds as "1.25 s", or from ten seconds on as "1:05". */
export const shortTime = (ms: number): string =>
  ms < 10_000 ? `${(ms / 1000).toFixed(2)} s` : formatSeconds(ms / 1000);

/** How far something is, as a bar and in figures. */
export const bar = (
  verb: string,
  {
    doneBytes,
    totalBytes,
    bytesPerSecond,
    etaSeconds,
  }: Pick<Progress, 'doneBytes' | 'totalBytes' | 'bytesPerSecond' | 'etaSeconds'>,
): string => {
  const share = totalBytes === 0 ? 1 : doneBytes / totalBytes;
  const full = Math.round(share * BAR_CELLS);
  const cells = '█'.repeat(full) + '░'.repeat(BAR_CELLS - full);
  const eta = etaSeconds === undefined ? '' : `  ETA ${formatSeconds(etaSeconds)}`;
  return `${verb} ${cells} ${String(Math.floor(share * 100)).padStart(3)}%  ${formatSize(doneBytes)} of ${formatSize(totalBytes)}  ${formatSize(bytesPerSecond)}/s${eta}`;
};

const line = (progress: Progress): string => {
  const busiest = [...progress.stages].sort((a, b) => b.busyShare - a.busyShare)[0];
  const limit = busiest && busiest.busyShare > 0.5 ? `  limited by ${busiest.stage}` : '';
  return `${bar(progress.verb, progress)}${limit}`;
};

/** One command's way of speaking. */
export class Screen {
  readonly #options: CommonOptions;
  readonly #color: boolean;
  #lineShown = false;

  constructor(options: CommonOptions) {
    this.#options = options;
    this.#color =
      options.color !== false &&
      process.env.NO_COLOR === undefined &&
      process.stderr.isTTY === true;
  }

  /** How progress is to be shown. */
  get progress(): 'line' | 'json' | 'none' {
    const { quiet, progress } = this.#options;
    if (progress === 'json') return 'json';
    return !quiet && progress !== 'none' && process.stderr.isTTY ? 'line' : 'none';
  }

  /** True when the result is for a program. */
  get json(): boolean {
    return this.#options.json === true;
  }

  get quiet(): boolean {
    return this.#options.quiet === true;
  }

  /** An emitter whose progress and notices are shown as the options say. */
  events(): RunEmitter {
    const events = createEmitter();
    if (this.progress === 'json')
      events.on('progress', (p) => this.jsonLine({ type: 'progress', ...p }));
    if (this.progress === 'line') events.on('progress', (p) => this.show(line(p)));
    events.on('notice', (sentence) => this.notice(sentence));
    return events;
  }

  /** Something to know beside the result; `about` names what it is about. */
  notice(sentence: string, about: Readonly<Record<string, string>> = {}): void {
    if (this.progress === 'json') this.jsonLine({ type: 'notice', ...about, sentence });
    else if (!this.quiet) this.note([...Object.values(about), sentence].join(': '));
  }

  /** One line of JSON on standard error. */
  jsonLine(value: unknown): void {
    process.stderr.write(`${JSON.stringify(value)}\n`);
  }

  /** A line that the next one replaces. */
  show(text: string): void {
    const width = process.stderr.columns ?? 80;
    process.stderr.write(`${CLEAR_LINE}${oneLine(text.slice(0, width - 1))}`);
    this.#lineShown = true;
  }

  #clear(): void {
    if (this.#lineShown) process.stderr.write(CLEAR_LINE);
    this.#lineShown = false;
  }

  /** A sentence beside the result. */
  note(sentence: string): void {
    this.#clear();
    process.stderr.write(`${oneLine(sentence)}\n`);
  }

  /**
   * The result: `value` for machines, and for people what `words` makes of it when its texts can do no harm. `to`:
   * where standard output is taken.
   */
  result<T>(value: T, words: (value: T) => string, to: Output = standardOutput): void {
    this.#clear();
    if (this.#options.json) to.write(`${JSON.stringify(value, null, 2)}\n`);
    else if (!this.#options.quiet) to.write(`${onlyLines(words(harmless(value)))}\n`);
  }

  /** One sentence of what, one of what to do. Returns the exit code. */
  failure(error: unknown): number {
    this.#clear();
    const known = error instanceof Fault ? error : undefined;
    const message = error instanceof Error ? error.message : String(error);
    // Of ours each is one sentence already.
    const what = known ? message : message.split(/\s*\n\s*/).join(' ');
    const advice = known?.advice ?? 'This should not happen; run again with --debug and report it.';
    if (this.#options.json) {
      const code: FaultCode | 'internal' = known?.code ?? 'internal';
      const value = { error: { code, message: what, advice, details: known?.details ?? {} } };
      standardOutput.write(`${JSON.stringify(value, null, 2)}\n`);
    }
    this.complain(what, advice);
    if (this.#options.debug && error instanceof Error) {
      process.stderr.write(`${onlyLines(error.stack ?? '')}\n`);
      if (error.cause instanceof Error) process.stderr.write(`${onlyLines(error.cause.message)}\n`);
    }
    return known?.exitCode ?? 1;
  }

  /** What went wrong, and what to do. */
  complain(what: string, advice: string): void {
    this.#clear();
    process.stderr.write(`${this.#red('nvsnap:')} ${oneLine(what)}\n${oneLine(advice)}\n`);
  }

  #red(text: string): string {
    return this.#color ? `\u001b[31m${text}\u001b[39m` : text;
  }
}

/** Ranges that a person is shown. */
const SHOWN_RANGES = 40;

/** Ranges of bytes as START+LENGTH, a line each; of many the first. */
export const rangeLines = (r: {
  readonly rangeCount: number;
  readonly ranges: readonly { readonly start: number; readonly length: number }[];
}): string[] => {
  const lines = r.ranges.slice(0, SHOWN_RANGES).map(({ start, length }) => `${start}+${length}`);
  if (r.rangeCount > SHOWN_RANGES) {
    lines.push(`… and ${r.rangeCount - SHOWN_RANGES} more (--json has them)`);
  }
  return lines;
};

/** Lays rows out in columns; `right` names the columns of figures. */
export const columns = (
  head: readonly string[],
  rows: readonly (readonly string[])[],
  right: readonly number[],
): string => {
  const all = [head, ...rows];
  // A column after the other: a list may have thousands of rows, and their cells are laid out in few calls.
  const laid = head.map((_, i) => {
    const cells = all.map((row) => row[i] ?? '');
    const width = Math.max(...cells.map(({ length }) => length));
    if (right.includes(i)) return cells.map((cell) => cell.padStart(width));
    return i === head.length - 1 ? cells : cells.map((cell) => cell.padEnd(width));
  });
  const line = (n: number): string =>
    laid
      .map((cells) => cells[n])
      .join('  ')
      .trimEnd();
  return all.map((_, n) => line(n)).join('\n');
};
