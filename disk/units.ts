// Numbers that cross function borders carry their unit in the type. All of them are safe integers:
// offsets stay below 2^53 (8 PiB), which the header check asserts once, so hot loops use plain
// doubles and no bigint.

declare const unit: unique symbol;
type Unit<Name extends string> = number & { readonly [unit]: Name };

/** A byte offset in the store file. */
export type HostOffset = Unit<'host offset'>;
/** The index of a cluster of the image: guest offset / cluster size. */
export type GuestCluster = Unit<'guest cluster'>;
/** A length in bytes. */
export type Bytes = Unit<'bytes'>;

const checked = (value: number, what: string): number => {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`${what} ${value} is not a whole number between 0 and 2^53`);
  }
  return value;
};

export const hostOffset = (value: number): HostOffset =>
  checked(value, 'host offset') as HostOffset;
export const guestCluster = (value: number): GuestCluster =>
  checked(value, 'guest cluster') as GuestCluster;
export const bytes = (value: number): Bytes => checked(value, 'byte count') as Bytes;

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;
export const TiB = 1024 * GiB;

/** The smallest multiple of `step` that is at least `value`. */
export const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step;

const SUFFIX: Readonly<Record<string, number>> = { '': 1, K: KiB, M: MiB, G: GiB, T: TiB };

/** Reads "64K", "1.5 GiB" or "4096" as bytes (powers of 1024); undefined when it is not a size. */
export const parseSize = (text: string): Bytes | undefined => {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  if (!match) return undefined;
  const value = Number(match[1]) * (SUFFIX[(match[2] ?? '').toUpperCase()] ?? 1);
  return Number.isSafeInteger(value) ? (value as Bytes) : undefined;
};

const SIZE_NAMES = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

const written = (value: number, round: (digits: number) => number): string => {
  const power = value < 1024 ? 0 : Math.floor(Math.log2(value) / 10);
  const step = Math.min(power, SIZE_NAMES.length - 1);
  const scaled = value / 1024 ** step;
  const digits = step === 0 ? 0 : scaled < 10 ? 2 : 1;
  return `${(round(scaled * 10 ** digits) / 10 ** digits).toFixed(digits)} ${SIZE_NAMES[step]}`;
};

/** Writes bytes as a person reads them: 1536 → "1.50 KiB". */
export const formatSize = (value: number): string => written(value, Math.round);

/** The same of what is needed, and of what there is: that the two differ, and which is the larger, can be read. */
export const formatSizeUp = (value: number): string => written(value, Math.ceil);
export const formatSizeDown = (value: number): string => written(value, Math.floor);
