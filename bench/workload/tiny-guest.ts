// A guest of a hundred bytes, in place of the firmware. It counts, and stores each number in three places, in this order:
// in its RAM, in a page of the first NVDIMM, in the same page of the second; the next number goes to the next of 1024
// pages. So whatever of its memory is of one moment can be told from what is not.
//
//     fa                        cli
//     2e 66 0f 01 16 b0 00      lgdt   cs:gdtr
//     0f 20 c0 0c 01 0f 22 c0   cr0 |= 1                  protected mode
//     66 ea 18 00 0f 00 08 00   ljmp   8:0xf0018
//     b8 10 00 00 00            eax = 16
//     8e d8 8e c0 8e d0         ds = es = ss = ax
//     bf 00 10 00 00            edi = 0x1000              the page directory, cleared
//     31 c0 b9 00 04 00 00      eax = 0, ecx = 1024
//     f3 ab                     rep stosl
//     c7 05 00 10 00 00 83 …    [0x1000] = 0x83           4 MiB onto themselves
//     bf 00 14 00 00            edi = 0x1400              1 GiB and on: physical 4 GiB and on (PSE-36)
//     b8 83 20 00 00            eax = 0x2083
//     b9 10 00 00 00            ecx = 16
//     ab 05 00 00 40 00 e2 f8   stosl, eax += 4 MiB, loop
//     b8 00 10 00 00 0f 22 d8   cr3 = 0x1000
//     0f 20 e0 83 c8 10 0f 22 e0              cr4 |= PSE
//     0f 20 c0 0d 00 00 00 80 0f 22 c0        cr0 |= PG
//     31 db                     ebx = 0
//     43                  next: ebx += 1
//     89 1d 00 80 00 00         [0x8000] = ebx            RAM
//     89 d8 25 ff 03 00 00      eax = ebx & 1023
//     c1 e0 0c                  eax <<= 12
//     89 98 00 00 00 40         [0x40000000 + eax] = ebx  the first NVDIMM, 32 MiB of it
//     89 98 00 00 00 42         [0x42000000 + eax] = ebx  the second
//     b9 64 00 00 00 e2 fe      ecx = 100, loop
//     eb da                     jmp next

import fs from 'node:fs';

const CODE =
  'fa2e660f0116b0000f20c00c010f22c066ea18000f000800b8100000008ed88ec08ed0bf0010000031c0b900040000f3ab' +
  'c7050010000083000000bf00140000b883200000b910000000ab0500004000e2f8b8001000000f22d80f20e083c8100f22e0' +
  '0f20c00d000000800f22c031db43891d0080000089d825ff030000c1e00c899800000040899800000042b964000000e2feebda';
/** The descriptors of flat code and data, behind an empty one at 0x98, and where they are. */
const TABLE = 'ffff0000009acf00ffff00000092cf00170098000f00';
const TABLE_AT = 0xa0;
/** jmp 0, where a processor begins. */
const RESET = 'e90d00';
const RESET_AT = 0xfff0;

const FIRMWARE_BYTES = 65_536;
const COUNTER_AT = 0x8000;
const PAGES = 1024;
const PAGE_BYTES = 4096;

/** What the first NVDIMM must have, so that the second one begins where the guest looks for it. */
export const FIRST_BYTES = 32 * 2 ** 20;
export const SECOND_BYTES = 8 * 2 ** 20;
export const RAM_BYTES = 16 * 2 ** 20;

/** A million instructions a second, and the processor left to others in between: it counts to 9000 in that time. */
export const SLOWLY = ['-icount', 'shift=10,align=on'] as const;

/** Writes the guest as a firmware for -bios. */
export const writeTinyGuest = (path: string): void => {
  const firmware = Buffer.alloc(FIRMWARE_BYTES);
  firmware.write(CODE, 0, 'hex');
  firmware.write(TABLE, TABLE_AT, 'hex');
  firmware.write(RESET, RESET_AT, 'hex');
  fs.writeFileSync(path, firmware);
};

/** The files of one guest. */
export interface Memory {
  readonly ram: string;
  readonly first: string;
  readonly second: string;
}

const numbersAt = (path: string, places: readonly number[]): number[] => {
  const fd = fs.openSync(path, 'r');
  try {
    return places.map((at) => {
      const word = Buffer.alloc(4);
      fs.readSync(fd, word, 0, 4, at);
      return word.readUInt32LE(0);
    });
  } finally {
    fs.closeSync(fd);
  }
};

/** How far the guest has counted, by its RAM. */
export const counterOf = ({ ram }: Memory): number => numbersAt(ram, [COUNTER_AT])[0] as number;

/** The last number in an NVDIMM; throws when what is there is not all that was stored up to it. */
const lastOf = (path: string): number => {
  const places = Array.from({ length: PAGES }, (_, page) => page * PAGE_BYTES);
  const numbers = numbersAt(path, places);
  const last = Math.max(...numbers);
  for (const [page, number] of numbers.entries()) {
    const due = last - ((((last - page) % PAGES) + PAGES) % PAGES);
    if (number !== Math.max(0, due)) {
      throw new Error(`${path}: page ${page} has ${number}, but ${due} was stored before ${last}`);
    }
  }
  return last;
};

/** The number that all of a guest's memory has come to; throws when it is not of one moment. */
export const momentOf = (memory: Memory): number => {
  const [ram, first, second] = [counterOf(memory), lastOf(memory.first), lastOf(memory.second)];
  if (ram - first > 1 || first > ram || first - second > 1 || second > first) {
    throw new Error(`RAM is at ${ram}, the first NVDIMM at ${first}, the second at ${second}`);
  }
  return ram;
};
