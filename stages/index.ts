// The door of stages/: the built-in stages, each as something a line can use. The modules themselves
// are loaded in the threads only.

import type { FileSpec } from '../disk/index.js';
import type { StageUse } from '../pipeline/index.js';
import type { CodecOptions } from './codec/index.js';
import { type DecodeOptions, hasPayload } from './decode.js';
import { isUnchanged } from './dedup.js';
import type { DeliverOptions } from './deliver.js';
import type { DigestOptions } from './fingerprint.js';
import { needsPadding } from './pad.js';
import type { ScanOptions } from './scan.js';
import { hasData } from './write.js';

export { type CodecOptions, LEVELS, type PackedCodec } from './codec/index.js';

const at = (name: string): string => new URL(`./${name}.js`, import.meta.url).href;

export const scan = (options: ScanOptions, threads: number): StageUse => ({
  name: 'scan',
  module: at('scan'),
  options,
  threads: options.seekable ? threads : 1,
  early: true,
});

/** `early`: something is sure to have changed. */
export const dedup = (options: DigestOptions, threads: number, early: boolean): StageUse => ({
  name: 'dedup',
  module: at('dedup'),
  options,
  threads,
  early,
  ends: isUnchanged,
});

export const pad = (threads: number): StageUse => ({
  name: 'pad',
  module: at('pad'),
  options: {},
  threads,
  wants: needsPadding,
});

/** `early`: everything is sure to be new. */
export const compress = (options: CodecOptions, threads: number, early: boolean): StageUse => ({
  name: 'compress',
  module: at('compress'),
  options,
  threads,
  early,
  wants: hasData,
});

export const write = (store: FileSpec, threads: number, early: boolean): StageUse => ({
  name: 'write',
  module: at('write'),
  options: store,
  threads,
  early,
  wants: hasData,
});

export const fetch = (store: FileSpec, threads: number): StageUse => ({
  name: 'fetch',
  module: at('fetch'),
  options: store,
  threads,
  early: true,
});

/** `early`: most clusters are sure to be compressed. */
export const decode = (options: DecodeOptions, threads: number, early: boolean): StageUse => ({
  name: 'decode',
  module: at('decode'),
  options,
  threads,
  early,
  wants: hasPayload,
});

export const verify = (options: DigestOptions, threads: number): StageUse => ({
  name: 'verify',
  module: at('verify'),
  options,
  threads,
  // What decode has digested and is as recorded needs no hop; everything else is looked at.
  wants: (batch) => !isUnchanged(batch),
});

export const deliver = (options: DeliverOptions, threads: number): StageUse => ({
  name: 'deliver',
  module: at('deliver'),
  options,
  threads,
  early: true,
});
