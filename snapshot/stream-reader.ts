// Reads the sections of a stream, one after another, from a descriptor that may be a pipe.

import fs from 'node:fs';
import { promisify } from 'node:util';
import { ioFault } from '../disk/index.js';
import type { SlabLayout } from '../pipeline/index.js';
import {
  decodeHead,
  HEAD_BYTES,
  MAGIC,
  maxTableBytes,
  SEAL_BYTES,
  Sealer,
  type SectionKind,
  streamFault,
} from './stream.js';

const readInto = promisify(fs.read) as (
  fd: number,
  buffer: Buffer,
  offset: number,
  length: number,
  position: null,
) => Promise<{ bytesRead: number }>;

/** Reads sections. */
export class StreamReader {
  readonly #fd: number;
  readonly #sealer = new Sealer();

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Fills a buffer; the stream must not end before. */
  async fill(into: Buffer): Promise<void> {
    if ((await this.#upTo(into)) < into.length) throw streamFault('it ends too early');
  }

  async #upTo(into: Buffer): Promise<number> {
    let done = 0;
    while (done < into.length) {
      const { bytesRead } = await readInto(this.#fd, into, done, into.length - done, null).catch(
        (error: unknown) => {
          throw ioFault(error, 'the stream', 'read');
        },
      );
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  async magic(): Promise<void> {
    const magic = Buffer.alloc(MAGIC.length);
    if ((await this.#upTo(magic)) < magic.length || !magic.equals(MAGIC)) {
      throw streamFault('it was not made by "nvsnap export"');
    }
  }

  /** The next section's tables, sealed as they must be. */
  async section(layout?: SlabLayout): Promise<{ kind: SectionKind; tables: Buffer }> {
    const head = Buffer.alloc(HEAD_BYTES);
    await this.fill(head);
    const { kind, length } = decodeHead(head);
    if (length > maxTableBytes(kind, layout)) throw streamFault('a section is too long');
    const tables = Buffer.alloc(length);
    const seal = Buffer.alloc(SEAL_BYTES);
    await this.fill(tables);
    await this.fill(seal);
    if (!this.#sealer.seal(head, tables).equals(seal)) {
      throw streamFault('a section does not match its seal');
    }
    return { kind, tables };
  }

  async end(): Promise<void> {
    if ((await this.#upTo(Buffer.alloc(1))) > 0) throw streamFault('it goes on after its end');
  }
}
