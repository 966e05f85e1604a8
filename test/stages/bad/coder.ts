// A reversible stage: turns over all bits, and breaks the contract in one way, as it is told.

import { type StageThread, stage } from '../../../pipeline/index.js';

const WAYS = [
  'well',
  'throws in open',
  'throws in encode',
  'returns a promise',
  'exits in encode',
  'returns NaN',
  'returns less than nothing',
  'returns too much',
  'returns a word',
  'returns nothing',
  'returns half a byte',
  'loses a byte',
  'encodes noise',
  'cannot decode',
  'decodes to another',
  'changes what it does not encode',
  'changes what it encodes',
  'writes behind',
  'writes to what it had given back',
  'keeps what it was given',
  'throws in flush',
  'throws in close',
  'hangs in decode',
  'decodes anything to zeros',
] as const;
export type Way = (typeof WAYS)[number];

const broke = (): never => {
  throw new Error('it broke');
};

const turn = (bytes: Buffer, into: Buffer): number => {
  for (let i = 0; i < bytes.length; i += 1) into[i] = ~(bytes[i] as number);
  return bytes.length;
};

/** All that lies before and behind a view. */
const around = ({ buffer }: Buffer): Buffer => Buffer.from(buffer);

const open = (way: Way): StageThread => {
  if (way === 'throws in open') broke();
  let kept: Buffer | undefined;
  const gathered: Buffer[] = [];
  return {
    encode(bytes, into) {
      const length = turn(bytes, into);
      switch (way) {
        case 'throws in encode':
          return broke();
        case 'returns a promise':
          return Promise.resolve(length) as unknown as number;
        case 'exits in encode':
          return process.exit(0);
        case 'returns NaN':
          return Number.NaN;
        case 'returns less than nothing':
          return -1;
        case 'returns too much':
          return into.length + 1;
        case 'returns a word':
          return String(length) as unknown as number;
        case 'returns nothing':
          return undefined as unknown as number;
        case 'returns half a byte':
          return length - 0.5;
        case 'loses a byte':
          return length - 1;
        case 'encodes noise':
          into[7] = Math.floor(Math.random() * 256);
          return length;
        case 'changes what it does not encode':
          bytes[3] = ~(bytes[3] as number);
          return 0;
        case 'changes what it encodes':
          bytes[3] = ~(bytes[3] as number);
          return length;
        case 'writes behind':
          around(into)[into.byteOffset + into.length] = 1;
          return length;
        case 'writes to what it had given back':
          kept = into;
          return length;
        case 'keeps what it was given':
          gathered.push(bytes);
          return length;
        default:
          return length;
      }
    },
    decode(bytes, into) {
      if (way === 'cannot decode') broke();
      while (way === 'hangs in decode');
      const length = turn(bytes, into);
      if (way === 'decodes to another') into[3] = ~(into[3] as number);
      if (way === 'decodes anything to zeros') into.fill(0);
      return length;
    },
    flush() {
      if (way === 'throws in flush') broke();
      kept?.fill(1);
    },
    close() {
      if (way === 'throws in close') broke();
    },
  };
};

export default stage<{ readonly way: Way }>({
  name: 'coder',
  usage: { way: 'what it does' },
  parse: ({ way }) => {
    if (!WAYS.includes(way as Way)) throw new Error('it needs way=WAY');
    return { way: way as Way };
  },
  reversible: { growth: 0 },
  patience: 1,
  open: ({ way }) => open(way),
});
