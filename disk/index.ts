// The door of disk/: units, extents, faults, digests, and the file and system calls beneath all else.

export * from './bitmap.js';
export * from './clone.js';
export * from './digest.js';
export * from './extents.js';
export * from './faults.js';
export * from './fiemap.js';
export * from './file.js';
export * from './lock.js';
export * from './os.js';
export * from './random.js';
export * from './stream.js';
export * from './units.js';
