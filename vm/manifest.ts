// A point's manifest: what belongs together. One file of JSON per tag, closed by a checksum; it is written last, and a
// point is there when its manifest is.

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import * as z from 'zod/mini';
import { fault, MiB, replaceFile } from '../disk/index.js';
import { objectId } from './commands.js';

const VERSION = 1;
/** Those of machines with thousands of regions have a tenth of it. */
const MAX_BYTES = MiB;
const MAX_REGIONS = 4096;

const text = z.string().check(z.maxLength(4096));
const count = z.int().check(z.nonnegative());
const uuid = z.string().check(z.regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/));
const root = z.string().check(z.regex(/^[0-9a-f]{32}$/));

/** A snapshot in a store of the points' folder. */
const member = z.object({ snapshot: uuid, root, bytes: count });
export type Member = z.infer<typeof member>;

const region = z.object({
  ...member.shape,
  id: objectId,
  kind: z.enum(['nvdimm', 'virtio-pmem', 'dimm', 'ram', 'other']),
  /** Of the backend; `bytes` is the file's length. */
  size: count,
  path: text,
  pmem: z.boolean(),
  device: z.nullable(text),
  guestAddress: z.nullable(count),
  slot: z.nullable(count),
  node: z.nullable(count),
  labelBytes: count,
});
export type PointRegion = z.infer<typeof region>;

const manifest = z.object({
  nvsnap: z.literal(VERSION),
  tag: text,
  uuid,
  /** When the machine stood still, ISO 8601. */
  takenAt: text,
  tool: text,
  /** False for memory that was read while the machine ran. */
  consistent: z.boolean(),
  /** Milliseconds from STOP to RESUME by QEMU's clock; null when it was not stopped, or not continued. */
  pauseMs: z.nullable(z.number()),
  machine: z.object({
    name: z.nullable(text),
    uuid: text,
    type: text,
    qemu: text,
    processors: count,
    memoryBytes: count,
    maxMemoryBytes: z.nullable(count),
    slots: z.nullable(count),
    memoryBackend: z.nullable(text),
  }),
  regions: z.array(region).check(z.minLength(1), z.maxLength(MAX_REGIONS)),
  state: z.nullable(member),
  /** Disks that could be written to and are not part of it. */
  disks: z.array(z.object({ device: text, file: text })),
});
export type Manifest = z.infer<typeof manifest>;

const checksumOf = (value: unknown): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex');

/** Writes a manifest so that it is there whole, durably, or not at all. */
export const writeManifest = (path: string, value: Manifest): void => {
  const checksum = checksumOf(value);
  replaceFile(path, [`${JSON.stringify({ ...value, checksum }, null, 2)}\n`]);
};

/** Reads a manifest; whatever is wrong with it is a fault that names the point. */
export const readManifest = (path: string, tag: string, folder: string): Manifest => {
  const damaged = (problem: string, cause?: unknown) =>
    fault('point-damaged', { tag, folder, problem }, cause);
  if (fs.statSync(path).size > MAX_BYTES) throw damaged('its manifest is too large');
  let value: unknown;
  try {
    value = JSON.parse(fs.readFileSync(path, 'utf8'));
  } catch (error) {
    throw damaged('its manifest is no JSON', error);
  }
  if (typeof value !== 'object' || value === null) throw damaged('its manifest is no map');
  const { checksum, ...rest } = value as Record<string, unknown>;
  if (checksum !== checksumOf(rest)) throw damaged('its manifest does not match its checksum');
  const { data, error } = manifest.safeParse(rest);
  if (!data) throw damaged(`its manifest is of another form (${error?.issues[0]?.path.join('.')})`);
  if (data.tag !== tag) throw damaged(`its manifest is that of ${JSON.stringify(data.tag)}`);
  return data;
};
