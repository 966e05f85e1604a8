// The door of dirty/: where the knowledge of what may have changed comes from.

export { scanSource } from './scan.js';
export type { DirtySource, Epoch, TrackedImage } from './source.js';
