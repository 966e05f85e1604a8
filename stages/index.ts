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

/** The threads of a stage. */
export interface Crew {
  readonly threads: number;
  /** True to start them at once, since they are sure to pay. */
  readonly early: boolean;
}

export const scan = (options: ScanOptions, { threads, early }: Crew): StageUse => ({
  name: 'scan',
  module: at('scan'),
  options,
  threads: options.seekable ? threads : 1,
  early,
  // A pipe may keep its reader waiting for ever.
  beginsHere: options.seekable,
});

export const dedup = (options: DigestOptions, crew: Crew): StageUse => ({
  name: 'dedup',
  module: at('dedup'),
  options,
  ...crew,
  beginsHere: true,
  ends: isUnchanged,
});

export const pad = (crew: Crew): StageUse => ({
  name: 'pad',
  module: at('pad'),
  options: {},
  ...crew,
  beginsHere: true,
  wants: needsPadding,
});

export const compress = (options: CodecOptions, crew: Crew): StageUse => ({
  name: 'compress',
  module: at('compress'),
  options,
  ...crew,
  beginsHere: true,
  wants: hasData,
});

export const write = (store: FileSpec, crew: Crew): StageUse => ({
  name: 'write',
  module: at('write'),
  options: store,
  ...crew,
  beginsHere: true,
  wants: hasData,
});

export const fetch = (store: FileSpec, crew: Crew): StageUse => ({
  name: 'fetch',
  module: at('fetch'),
  options: store,
  ...crew,
  beginsHere: true,
});

export const decode = (options: DecodeOptions, crew: Crew): StageUse => ({
  name: 'decode',
  module: at('decode'),
  options,
  ...crew,
  beginsHere: true,
  wants: hasPayload,
});

export const verify = (options: DigestOptions, crew: Crew): StageUse => ({
  name: 'verify',
  module: at('verify'),
  options,
  ...crew,
  beginsHere: true,
  // What decode has digested and is as recorded needs no hop; everything else is looked at.
  wants: (batch) => !isUnchanged(batch),
});

export const deliver = (options: DeliverOptions, crew: Crew): StageUse => ({
  name: 'deliver',
  module: at('deliver'),
  options,
  ...crew,
  beginsHere: true,
});
