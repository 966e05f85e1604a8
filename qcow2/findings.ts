// What a check found. Damage is data here, not an exception: the check goes on, and the worst file
// gives a list of bounded length with exact totals.

/** A corruption can lose data, a leak only wastes space, a note is neither. */
export type FindingKind = 'corruption' | 'leak' | 'note';

export type FindingCode =
  /** Stored refcount below or above the references found. */
  | 'refcount-low'
  | 'refcount-high'
  /** An offset that leads out of the file, or not to a cluster boundary. */
  | 'outside-file'
  | 'misaligned'
  /** Bits set that the specification reserves. */
  | 'reserved-bits'
  /** The two words of an extended L2 entry contradict each other. */
  | 'subclusters'
  /** One cluster used for two purposes. */
  | 'overlap'
  /** COPIED does not say whether the refcount is 1. */
  | 'copied'
  /** A table that must be there is not, or cannot be read. */
  | 'table-missing'
  | 'unreadable'
  | 'cut-short'
  /** Digests that do not match each other, or the tables they stand for. */
  | 'digest'
  | 'digest-zero'
  | 'digest-absent'
  /** Digests whose key was not given. */
  | 'digest-locked'
  /** Tables of a snapshot that are not those that it was taken with. */
  | 'tables'
  /** Snapshots that contradict each other, the disk or their own record. */
  | 'duplicate'
  | 'disk-size'
  | 'record'
  | 'active-state'
  /** A feature bit that contradicts the store's own facts. */
  | 'feature'
  /** The header's own opinion of the file. */
  | 'marked-corrupt'
  | 'marked-dirty';

export interface Finding {
  readonly kind: FindingKind;
  readonly code: FindingCode;
  /** One sentence. */
  readonly message: string;
  /** Host byte offset of the cluster or table at fault, where there is one. */
  readonly offset?: number;
}

/** As many findings of each kind are kept; the rest are only counted. */
export const MAX_KEPT_FINDINGS = 100;

export class Findings {
  readonly #kept: Finding[] = [];
  readonly #first = new Map<FindingCode, string>();
  readonly #totals: Record<FindingKind, number> = { corruption: 0, leak: 0, note: 0 };

  /** `text` is a sentence whose first letter may be small. */
  add(kind: FindingKind, code: FindingCode, text: string, offset?: number): void {
    this.#totals[kind] += 1;
    if (!this.#first.has(code)) this.#first.set(code, text);
    if (this.#totals[kind] > MAX_KEPT_FINDINGS) return;
    const message = text.charAt(0).toUpperCase() + text.slice(1);
    this.#kept.push({ kind, code, message, ...(offset === undefined ? {} : { offset }) });
  }

  corruption(code: FindingCode, text: string, offset?: number): void {
    this.add('corruption', code, text, offset);
  }

  /** In the order in which they were found. */
  get kept(): readonly Finding[] {
    return this.#kept;
  }

  /** The first sentence with this code, kept or not. */
  first(code: FindingCode): string | undefined {
    return this.#first.get(code);
  }

  /** All of one kind, kept or not. */
  total(kind: FindingKind): number {
    return this.#totals[kind];
  }
}

/** A host offset as people write it. */
export const hex = (offset: number): string => `0x${offset.toString(16)}`;
