// What may be in a jobs file. The message of an issue says what is expected, so that the reader of the file can
// put it into a sentence with what was found.

import * as z from 'zod/mini';
import { Fault, MiB, parseSize } from '../disk/index.js';
import {
  checkSource,
  checkTag,
  KEEP_RULES,
  type KeepRule,
  requestOf,
  SOURCE_USAGES,
  type StageRequest,
} from '../snapshot/index.js';

/** A value that `parse` makes something of; undefined when it is not what is expected. */
const scalar = <T>(expected: string, parse: (value: unknown) => T | undefined) =>
  z.pipe(
    z.unknown(),
    z.transform((value, context): T => {
      const parsed = parse(value);
      if (parsed !== undefined) return parsed;
      context.issues.push({ code: 'custom', message: expected, input: value });
      return z.NEVER;
    }),
  );

/** No one needs longer ones, and messages quote them. */
const MAX_TEXT = 4096;

const asText = (value: unknown): string | undefined =>
  typeof value === 'string' &&
  value !== '' &&
  value.length <= MAX_TEXT &&
  !/[\u0000-\u001f\u007f]/.test(value)
    ? value
    : undefined;

const text = (expected: string) => scalar(expected, asText);

const path = (of: string) =>
  scalar(`the path of ${of}`, (value) => (value === '-' ? undefined : asText(value)));

/** The kernel takes no longer argument than twice this. */
const MAX_COMMAND = 65_536;

/** A shell command may have several lines. */
const command = scalar('a shell command', (value) =>
  typeof value === 'string' &&
  value.trim() !== '' &&
  value.length <= MAX_COMMAND &&
  !value.includes('\0')
    ? value
    : undefined,
);

const choice = <T extends string>(...words: readonly T[]) =>
  scalar(`one of ${words.join(', ')}`, (value) => words.find((word) => word === value));

const whole = (least: number, most: number) =>
  scalar(`a whole number from ${least} to ${most}`, (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most
      ? value
      : undefined,
  );

const toBytes = (value: unknown): number | undefined =>
  typeof value === 'string' || typeof value === 'number' ? parseSize(String(value)) : undefined;

const size = (expected: string, suits: (bytes: number) => boolean) =>
  scalar(expected, (value) => {
    const bytes = toBytes(value);
    return bytes !== undefined && suits(bytes) ? bytes : undefined;
  });

const UNIT_MS: Readonly<Record<string, number>> = { s: 1e3, m: 60e3, h: 3600e3, d: 86400e3 };
/** A time that fits into one of Node's timers, and more than anybody waits. */
const MAX_TIME_MS = 20 * 86400e3;

const time = scalar('a time of 1s to 20d, as 30s, 15m, 6h or 1d', (value) => {
  const match = /^(\d+(?:\.\d+)?) ?([smhd])$/.exec(String(value));
  const ms = match ? Number(match[1]) * (UNIT_MS[match[2] ?? ''] ?? 0) : 0;
  return ms >= 1e3 && ms <= MAX_TIME_MS ? ms : undefined;
});

/** What `parse` makes of text; undefined when it says that something is wrong with it. */
const unlessFault =
  <T>(parse: (value: string) => T) =>
  (value: unknown): T | undefined => {
    if (typeof value !== 'string') return undefined;
    try {
      return parse(value);
    } catch (error) {
      if (error instanceof Fault) return undefined;
      throw error;
    }
  };

const tag = scalar(
  'a tag of 1 to 255 bytes with a character that is no digit',
  unlessFault((value) => {
    checkTag(undefined, value);
    return value;
  }),
);

const dirtySource = scalar(
  `a dirty source: ${SOURCE_USAGES.join('; ')}`,
  unlessFault((value) => {
    checkSource(value);
    return value;
  }),
);

const percent = scalar('a share in percent, 0 for none', (value) =>
  typeof value === 'number' && value >= 0 && value <= 100 ? value : undefined,
);

const yesOrNo = scalar('true or false', (value) =>
  typeof value === 'boolean' ? value : undefined,
);

/** A snapshot tool needs no more; each count is a row of tables to look through. */
const MAX_KEPT = 65536;
const MAX_THREADS = 256;
/** So many takes at once would have a thousandth of the memory each. */
const MAX_AT_ONCE = 64;
/** A group opens all of its images and stores at once: two descriptors each. */
const MAX_JOBS = 4096;

const stageMap = z.strictObject({
  module: text('a path, or the name of a package'),
  options: z.optional(z.record(z.string(), z.unknown())),
  at: z.optional(
    scalar(
      'a place, as before:dedup or after:pad',
      unlessFault((value) => requestOf(`stage@${value}`).at),
    ),
  ),
  threads: z.optional(whole(1, MAX_THREADS)),
});

const stage = z.union(
  [
    scalar('a stage', unlessFault(requestOf)),
    z.pipe(
      stageMap,
      z.transform(({ options = {}, ...rest }): StageRequest => ({ options, ...rest })),
    ),
  ],
  { error: 'a stage: MODULE[@PLACE][,KEY=VALUE…], or a map with module, options, at and threads' },
);

/** What a job may say, and the file for all jobs that do not. */
const takeFields = {
  parent: z.optional(text('latest, none, a tag, #id or uuid')),
  compression: z.optional(choice('zstd', 'zlib', 'lz4', 'none')),
  clusterSize: z.optional(
    size('a power of 2 from 4K to 2M', (b) => b >= 4096 && b <= 2 * MiB && (b & (b - 1)) === 0),
  ),
  digest: z.optional(choice('xxh3-128', 'blake3')),
  level: z.optional(whole(-50, 19)),
  otherImage: z.optional(yesOrNo),
  dirty: z.optional(dirtySource),
  audit: z.optional(percent),
  dedup: z.optional(choice('parent', 'store')),
  stages: z.optional(z.array(stage, { error: 'a list of stages' })),
};

const job = z.strictObject(
  {
    name: z.optional(text('text')),
    image: path('a file or block device'),
    store: path('a file'),
    tag: z.optional(tag),
    group: z.optional(text('the name of a group')),
    ...takeFields,
  },
  { error: 'a map with image and store' },
);

/** A machine whose memory is taken as a point; as the options of `nvsnap vm take`. */
const machine = z.strictObject(
  {
    name: z.optional(text('text')),
    qmp: path('a QMP socket'),
    stores: path('a folder'),
    tag: z.optional(tag),
    state: z.optional(choice('device', 'none')),
    freeze: z.optional(choice('reflink', 'pause', 'none')),
    dirty: z.optional(dirtySource),
    whilePaused: z.optional(command),
    maxPause: z.optional(time),
    compression: takeFields.compression,
    clusterSize: takeFields.clusterSize,
    level: takeFields.level,
  },
  { error: 'a map with qmp and stores' },
);

const group = z.strictObject(
  { before: z.optional(command), after: z.optional(command), timeout: z.optional(time) },
  { error: 'a map with before and after' },
);

const count = z.optional(whole(0, MAX_KEPT));
const rules: Record<KeepRule, typeof count> = {
  last: count,
  hourly: count,
  daily: count,
  weekly: count,
  monthly: count,
  yearly: count,
};

const keep = z.strictObject(rules, { error: 'a map of rules' });

const watch = z.strictObject(
  { every: time, keep: z.optional(keep) },
  { error: 'a map with every and keep' },
);

const listOf = <T extends z.ZodMiniType>(of: T, noun: string) =>
  z
    .array(of, { error: `a list of ${noun}s` })
    .check(z.minLength(1, { error: `a list with at least one ${noun}` }))
    .check(z.maxLength(MAX_JOBS, { error: `a list of at most ${MAX_JOBS} ${noun}s` }));

export const jobsSchema = z.strictObject(
  {
    memory: z.optional(size('a size of at least 1M, as 256M or 1G', (bytes) => bytes >= MiB)),
    concurrency: z.optional(whole(1, MAX_AT_ONCE)),
    threads: z.optional(whole(1, MAX_THREADS)),
    ...takeFields,
    jobs: z.optional(listOf(job, 'job')),
    machines: z.optional(listOf(machine, 'machine')),
    groups: z.optional(z.record(z.string(), group, { error: 'a map of groups' })),
    watch: z.optional(watch),
  },
  { error: 'a map with jobs' },
);

export type JobsText = z.infer<typeof jobsSchema>;

const keysOf = (shape: object): readonly string[] => Object.keys(shape);

/** The keys that may stand at a place of the file, whose path is given. */
export const keysAt = (way: readonly PropertyKey[]): readonly string[] => {
  const [first, second, third] = way;
  if (way.at(-2) === 'stages') return keysOf(stageMap.shape);
  if (first === undefined) return keysOf(jobsSchema.shape);
  if (first === 'jobs' && second !== undefined && third === undefined) return keysOf(job.shape);
  if (first === 'machines' && second !== undefined && third === undefined)
    return keysOf(machine.shape);
  if (first === 'groups' && second !== undefined && third === undefined) return keysOf(group.shape);
  if (first === 'watch' && second === undefined) return keysOf(watch.shape);
  return first === 'watch' && second === 'keep' ? KEEP_RULES : [];
};
