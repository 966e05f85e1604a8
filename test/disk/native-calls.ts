// System calls that a test listens to, or answers itself.

import type { Test } from 'tap';
import { native } from '../../disk/native.js';

/**
 * Until the test ends, such calls of this thread go to `answer`: what it returns the call returns, and with undefined it is
 * made.
 */
export const answerCalls = (
  t: Test,
  wanted: number,
  answer: (...args: Parameters<typeof native.call>) => number | undefined,
): void => {
  const { call } = native;
  native.call = (number, ...args) =>
    (number === wanted ? answer(number, ...args) : undefined) ?? call(number, ...args);
  t.teardown(() => {
    native.call = call;
  });
};
