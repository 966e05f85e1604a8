// A reversible stage that turns over all bits, and fails at the call that it is told: open, encode, decode, flush, close.

import { stage } from '../../../pipeline/index.js';

const turn = (bytes: Buffer, into: Buffer): number => {
  for (let i = 0; i < bytes.length; i += 1) into[i] = ~(bytes[i] as number);
  return bytes.length;
};

export default stage<{ readonly at: number }>({
  name: 'counting',
  usage: { at: 'which call fails, counted from 1' },
  parse: ({ at }) => ({ at: Number(at) }),
  reversible: { growth: 0 },
  threads: 1,

  open({ at }) {
    let calls = 0;
    const call = (name: string): void => {
      calls += 1;
      if (calls === at) throw new Error(`call ${at} was to fail: ${name}`);
    };
    call('open');
    return {
      encode(bytes, into) {
        call('encode');
        return turn(bytes, into);
      },
      decode(bytes, into) {
        call('decode');
        return turn(bytes, into);
      },
      flush: () => call('flush'),
      close: () => call('close'),
    };
  },
});
