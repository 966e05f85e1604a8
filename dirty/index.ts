// The door of dirty/: where the knowledge of what may have changed comes from.

import { bitmapKind } from './bitmap.js';
import { holesKind } from './holes.js';
import { reflinkKind } from './reflink.js';
import { scanKind } from './scan.js';
import { softDirtyKind } from './soft-dirty.js';
import type { DirtySource } from './source.js';
import { nameIn, openSpec, type SourceKind } from './spec.js';

export { scanSource } from './scan.js';
export type {
  Changes,
  DirtySource,
  Epoch,
  Frozen,
  Since,
  Source,
  SourceSetting,
  TrackedImage,
} from './source.js';

/** All that can be named on a command line. */
const SOURCE_KINDS: readonly SourceKind[] = [
  scanKind,
  bitmapKind,
  holesKind,
  reflinkKind,
  softDirtyKind,
];

/** How each is written: "bitmap:FILE[,page=4096]". */
export const SOURCE_USAGES: readonly string[] = SOURCE_KINDS.map(({ usage }) => usage);

/** True when what `spec` names is one of them. */
export const isBuiltIn = (spec: string): boolean =>
  SOURCE_KINDS.some(({ name }) => name === nameIn(spec));

/**
 * The dirty source of ours that `spec` names, as in "bitmap:/run/vm/dirty"; throws a Fault when there is none. A
 * relative path counts from `folder`, or stays as it is.
 */
export const openSource = (spec: string, folder?: string): DirtySource =>
  openSpec(spec, folder, SOURCE_KINDS);
