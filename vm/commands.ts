// The QMP commands that are used: what each is given, and what its answer must look like (QEMU QMP Reference Manual).
// Whatever else an answer holds is left out; what is missing or of another kind makes it no answer.

import * as z from 'zod/mini';

/** Paths and sentences; longer ones nobody writes. */
const MAX_TEXT = 4096;
/** Nobody has more devices, backends, processors or properties. */
const MAX_ENTRIES = 16_384;

const text = z.string().check(z.maxLength(MAX_TEXT));
const list = <T extends z.ZodMiniType>(of: T) => z.array(of).check(z.maxLength(MAX_ENTRIES));
const count = z.int().check(z.nonnegative());
/** A name that QEMU takes for an object; it becomes part of a file's name. */
export const objectId = z.string().check(z.regex(/^[A-Za-z][A-Za-z0-9._-]{0,127}$/));

const nothing = z.object({});

const version = z.object({
  qemu: z.object({ major: count, minor: count, micro: count }),
  package: z._default(text, ''),
});

export const greeting = z.object({ QMP: z.object({ version }) });
export type QemuVersion = z.infer<typeof version>;

const status = z.object({ status: text, running: z.boolean() });

const memoryBackend = z.object({
  id: z.optional(objectId),
  size: count,
  share: z._default(z.boolean(), false),
});
export type MemoryBackend = z.infer<typeof memoryBackend>;

/** NVDIMMs and DIMMs have `addr`, virtio-pmem and virtio-mem `memaddr`. */
const memoryDevice = z.object({
  type: text,
  data: z.object({
    id: z.optional(objectId),
    memdev: z.optional(text),
    addr: z.optional(count),
    memaddr: z.optional(count),
    size: z.optional(count),
    slot: z.optional(z.int()),
    node: z.optional(count),
  }),
});
export type MemoryDevice = z.infer<typeof memoryDevice>;

const blockDevice = z.object({
  device: text,
  qdev: z.optional(text),
  inserted: z.optional(z.object({ file: text, ro: z.boolean() })),
});

const property = z.object({ name: text, type: text });

const capability = z.object({ capability: text, state: z.boolean() });
export type Capability = z.infer<typeof capability>;

/** Only what is changed here; numbers of others may be too large to be read exactly. */
const parameters = z.object({ 'max-bandwidth': z.optional(z.number()) });

const migration = z.object({
  status: z.optional(text),
  'error-desc': z.optional(text),
  'blocked-reasons': z.optional(list(text)),
  ram: z.optional(z.object({ total: count })),
});
export type Migration = z.infer<typeof migration>;

/** What each command answers. */
export const ANSWERS = {
  qmp_capabilities: nothing,
  'query-status': status,
  'query-name': z.object({ name: z.optional(text) }),
  'query-uuid': z.object({ UUID: text }),
  'query-memdev': list(memoryBackend),
  'query-memory-devices': list(memoryDevice),
  'query-memory-size-summary': z.object({ 'base-memory': count }),
  'query-cpus-fast': list(z.object({ 'thread-id': count })),
  'query-block': list(blockDevice),
  'qom-list': list(property),
  'qom-get': z.unknown(),
  'query-migrate': migration,
  'query-migrate-capabilities': list(capability),
  'query-migrate-parameters': parameters,
  'migrate-set-capabilities': nothing,
  'migrate-set-parameters': nothing,
  migrate: nothing,
  migrate_cancel: nothing,
  'migrate-incoming': nothing,
  stop: nothing,
  cont: nothing,
} as const;

export type CommandName = keyof typeof ANSWERS;
export type Answer<C extends CommandName> = z.infer<(typeof ANSWERS)[C]>;

interface Arguments {
  'qom-list': { readonly path: string };
  'qom-get': { readonly path: string; readonly property: string };
  'migrate-set-capabilities': { readonly capabilities: readonly Capability[] };
  'migrate-set-parameters': { readonly 'max-bandwidth': number };
  migrate: { readonly uri: string };
  'migrate-incoming': { readonly uri: string };
}

/** What a command is given; most are given nothing. */
export type ArgumentsOf<C extends CommandName> = C extends keyof Arguments
  ? Arguments[C]
  : undefined;

/** What any line from QEMU is one of. */
const stamp = z.object({ seconds: z.int(), microseconds: z.int() });
export const eventLine = z.object({
  event: text,
  timestamp: stamp,
  data: z._default(z.record(z.string(), z.unknown()), {}),
});
export const answerLine = z.object({ id: z.optional(z.unknown()), return: z.unknown() });
export const refusalLine = z.object({
  id: z.optional(z.unknown()),
  error: z.object({ class: text, desc: z.string() }),
});
