// Fails at one of its calls, to see what becomes of a take, and of whoever started it, when a stage does.
//
//     nvsnap take nvdimm.img vm.qcow2 --stage ./fault.js,at=3
//     nvsnap take nvdimm.img vm.qcow2 --stage ./fault.js@before:dedup,at=1
//
// Its calls are counted from 1, in the order in which they are made: open, a batch after another, flush, close, conclude.
// It has one thread, so the order is always the same, and a loop over at=1, at=2, … until a take succeeds has tried them
// all. Each take but the last must fail, and leave the store as it was.

import { stage } from 'nvsnap/stage';

export default stage({
  name: 'fault',
  summary: 'fails at one of its calls, for tests',
  usage: { at: 'which call fails, counted from 1' },
  at: ['before:compress', 'before:dedup', 'before:pad', 'before:write', 'after:write'],
  takes: ['plain', 'zero', 'packed'],
  threads: 1,

  parse(words) {
    const unknown = Object.keys(words).find((word) => word !== 'at');
    if (unknown) throw new Error(`it has no option "${unknown}"`);
    const at = Number(words.at);
    if (Number.isInteger(at) && at > 0) return { at };
    throw new Error('it needs at=N, a whole number above 0');
  },

  open({ at }) {
    let calls = 0;
    /** @param {string} name */
    const call = (name) => {
      calls += 1;
      if (calls === at) throw new Error(`call ${at} was to fail: ${name}`);
    };
    call('open');
    return {
      batch: (batch) => call(`the batch at ${batch.offset}`),
      flush() {
        call('flush');
        // The calls of close and conclude are next.
        return { at, close: calls + 1 };
      },
      close: () => call('close'),
    };
  },

  conclude(parts) {
    for (const { at, close } of parts) {
      if (at === close + 1) throw new Error(`call ${at} was to fail: conclude`);
    }
    const [first] = parts;
    return { calls: first ? first.close + 1 : 0 };
  },
});
