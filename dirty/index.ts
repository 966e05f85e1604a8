// The door of dirty/: where the knowledge of what may have changed comes from.

import { bitmapKind } from './bitmap.js';
import { holesKind } from './holes.js';
import { reflinkKind } from './reflink.js';
import { scanKind } from './scan.js';
import { softDirtyKind } from './soft-dirty.js';
import type { DirtySource } from './source.js';
import { absoluteSpec, openSpec, type SourceKind } from './spec.js';

export { scanSource } from './scan.js';
export type { Changes, DirtySource, Epoch, Frozen, Since, TrackedImage } from './source.js';

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

/** The dirty source that `spec` names, as in "bitmap:/run/vm/dirty"; throws a Fault when there is none. */
export const openSource = (spec: string): DirtySource => openSpec(spec, SOURCE_KINDS);

/** The same source, of which a path that is relative counts from `folder`. */
export const sourceIn = (folder: string, spec: string): string =>
  absoluteSpec(spec, folder, SOURCE_KINDS);
