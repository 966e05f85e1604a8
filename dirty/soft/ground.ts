// Whether the ground is firm: whether marks can get lost. They are in the entries of the page table. When the kernel
// takes such an entry away because it needs memory, the mark goes with it, and a later read makes a new entry without.
// The same where small pages are made one huge page, or a huge page is split.

import fs from 'node:fs';
import { hasHugePages, type Mapped, parseFlags } from './process.js';

/** File systems as statfs(2) names them. */
const TMPFS = 0x01021994;
const HUGETLBFS = 0x958458f6;

/** What a period without lost marks is proven with: the same at its begin and its end. */
export interface Ground {
  /** Pages of memory in use that the kernel has looked at to take some away, since the boot; null if it does not say. */
  readonly scanned: string | null;
  /** True when all of the mapping is locked in memory (mlock(2)). */
  readonly locked: boolean | 'huge';
}

/** How often memory of the kind that tmpfs is made of was looked at, by the text of /proc/vmstat. */
export const scannedOf = (vmstat: string): string | null =>
  /^pgscan_anon (\d+)$/m.exec(vmstat)?.[1] ?? null;

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** True unless the text of mountinfo shows that the file system of a device makes no huge pages. */
export const mayBeHuge = (mountinfo: string, dev: bigint): boolean => {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn);
  const device = escaped(`${major}:${minor}`);
  const mount = new RegExp(`^\\d+ \\d+ ${device} .* - \\S+ \\S+ (\\S+)$`, 'm').exec(mountinfo);
  return !mount || /(^|,)huge=(?!never)/.test(mount[1] as string);
};

const isForcedHuge = (): boolean => {
  try {
    const setting = fs.readFileSync('/sys/kernel/mm/transparent_hugepage/shmem_enabled', 'utf8');
    return setting.includes('[force]');
  } catch {
    return false;
  }
};

/** Why the file system that the image is on will not do, as the end of a sentence. */
export const unfitFileSystem = (path: string, fd: number, alone: boolean): string | undefined => {
  const { type } = fs.statfsSync(path);
  // Its pages have no marks: after the first clearing all of them read as not written, for ever.
  if (type === HUGETLBFS) return 'the kernel does not track pages of hugetlbfs';
  if (type !== TMPFS) {
    return alone ? undefined : 'only of an image on tmpfs can it be proven that no mark was lost';
  }
  const { dev } = fs.fstatSync(fd, { bigint: true });
  return isForcedHuge() || mayBeHuge(fs.readFileSync('/proc/self/mountinfo', 'utf8'), dev)
    ? 'its tmpfs makes huge pages, and with these marks get lost'
    : undefined;
};

/**
 * Whether some mappings of a process are locked in memory, or hold huge pages. The kernel looks at each page to say it,
 * so this is asked while the process runs.
 */
export const lockOf = (pid: number, mapped: readonly Mapped[]): boolean | 'huge' => {
  const smaps = fs.readFileSync(`/proc/${pid}/smaps`, 'utf8');
  if (hasHugePages(smaps, new Set(mapped.map(({ start }) => start)))) return 'huge';
  const flags = parseFlags(smaps);
  return mapped.length > 0 && mapped.every(({ start }) => flags.get(start)?.has('lo') === true);
};

export const scannedNow = (): string | null => scannedOf(fs.readFileSync('/proc/vmstat', 'utf8'));

/** Why marks may have been lost between two moments, as the end of a sentence; undefined when none can have been. */
export const lostBetween = (before: Ground, now: Ground, onTmpfs: boolean): string | undefined => {
  if (before.locked === 'huge' || now.locked === 'huge') {
    return 'parts of it are mapped as huge pages, and with these marks get lost';
  }
  if (before.locked && now.locked) return undefined;
  if (!onTmpfs) return 'its mapping is not locked in memory, and so marks get lost';
  return before.scanned !== null && before.scanned === now.scanned
    ? undefined
    : 'the kernel has been short of memory, and with what it takes back marks get lost';
};

export const isOnTmpfs = (path: string): boolean => fs.statfsSync(path).type === TMPFS;
