// The state as files: a line with a checksum, a line of JSON, bitmaps. Written beside and renamed, so that a file is
// the old one or the new one; what cannot be believed counts as not there, which costs a full scan.

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { bitmapBytes, PAGE_BYTES, replaceFile } from '../../disk/index.js';
import type { Ground } from './ground.js';
import type { ProcessIdentity } from './process.js';

/** Dirt of a time between two lines. */
export interface Period {
  /** One bit for each page of the image. */
  readonly bits: Buffer;
  /** Why it may lack something, as the end of a sentence; null when it cannot. */
  readonly doubt: string | null;
}

interface ImageFacts {
  /** As TrackedImage has it. */
  readonly identity: string;
  readonly realPath: string;
  /** Device and inode, as /proc/PID/maps has them. */
  readonly file: string;
  readonly size: number;
  /** True when somebody has promised that only the process's stores change it. */
  readonly alone: boolean;
  readonly onTmpfs: boolean;
  /** A name for the last line. */
  readonly line: string;
  /** The snapshot that `before` counts from. */
  readonly since: string | null;
  /** What was true at the last clearing: where it was mapped, whether locked, when the file was changed. */
  readonly ranges: string;
  readonly locked: Ground['locked'];
  readonly changed: string | null;
}

/** What is known of one image of a process. */
export interface ImageState extends ImageFacts {
  /** From the snapshot to the last line. */
  readonly before: Period;
  /** From the last line to the last clearing. */
  readonly after: Period;
}

/** What is known of a process, from when its marks were last cleared. */
export interface ProcessState {
  readonly boot: string;
  readonly identity: ProcessIdentity;
  readonly canary: number | null;
  readonly scanned: string | null;
}

const checksum = (content: Uint8Array): string =>
  createHash('sha256').update(content).digest('hex');

/** Writes a file so that it is the old one or the new one, durably. */
const write = (path: string, facts: object, bitmaps: readonly Buffer[] = []): void => {
  const content = Buffer.concat([Buffer.from(`${JSON.stringify(facts)}\n`), ...bitmaps]);
  replaceFile(path, [`${checksum(content)}\n`, content]);
};

/** What a file of ours holds; undefined when there is none that can be believed. */
const read = (path: string): { facts: unknown; rest: Buffer } | undefined => {
  let raw: Buffer;
  try {
    raw = fs.readFileSync(path);
  } catch {
    return undefined;
  }
  const first = raw.indexOf('\n');
  const content = raw.subarray(first + 1);
  if (first < 0 || raw.toString('latin1', 0, first) !== checksum(content)) return undefined;
  const second = content.indexOf('\n');
  // What has its checksum has been written by us, but perhaps by another version.
  const facts: unknown = JSON.parse(content.toString('utf8', 0, second));
  return { facts, rest: content.subarray(second + 1) };
};

const VERSION = 1;

const isOurs = (facts: unknown): facts is { readonly version: typeof VERSION } =>
  typeof facts === 'object' && facts !== null && 'version' in facts && facts.version === VERSION;

export const saveProcess = (path: string, state: ProcessState): void =>
  write(path, { version: VERSION, ...state });

export const loadProcess = (path: string): ProcessState | undefined => {
  const found = read(path)?.facts;
  return isOurs(found) ? (found as typeof found & ProcessState) : undefined;
};

export const saveImage = (path: string, { before, after, ...facts }: ImageState): void =>
  write(path, { version: VERSION, ...facts, doubts: [before.doubt, after.doubt] }, [
    before.bits,
    after.bits,
  ]);

export const loadImage = (path: string): ImageState | undefined => {
  const found = read(path);
  if (!found || !isOurs(found.facts)) return undefined;
  const { doubts, ...facts } = found.facts as typeof found.facts &
    ImageFacts & { readonly doubts: readonly [string | null, string | null] };
  const bytes = bitmapBytes(facts.size, PAGE_BYTES);
  if (found.rest.length !== 2 * bytes) return undefined;
  const half = (from: number): Buffer => Buffer.from(found.rest.subarray(from, from + bytes));
  return {
    ...facts,
    before: { bits: half(0), doubt: doubts[0] },
    after: { bits: half(bytes), doubt: doubts[1] },
  };
};

/** A period in which nothing has been seen yet. */
export const emptyPeriod = (size: number, doubt: string | null): Period => ({
  bits: Buffer.alloc(bitmapBytes(size, PAGE_BYTES)),
  doubt,
});

/** The dirt of two periods, one after the other. */
export const join = (earlier: Period, later: Period): Period => {
  const bits = Buffer.from(earlier.bits);
  for (let i = 0; i < bits.length; i += 1) {
    bits[i] = (bits[i] as number) | (later.bits[i] as number);
  }
  return { bits, doubt: earlier.doubt ?? later.doubt };
};
