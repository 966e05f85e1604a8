// What the tests of codecs share.

import fc from 'fast-check';
import type { Test } from 'tap';
import { Fault, type FaultCode } from '../../disk/index.js';

/** Bytes written as in the specification's pictures: hexadecimal digits, with any white space. */
export const bytes = (hex: string): Buffer => Buffer.from(hex.replace(/\s+/g, ''), 'hex');

/**
 * The code of the fault that `decode` throws; undefined when it accepts. A decoder of untrusted bytes
 * may refuse them in no other way, so any other error passes through and fails the test.
 */
export const faultOf = (decode: () => unknown): FaultCode | undefined => {
  try {
    decode();
    return undefined;
  } catch (error) {
    if (error instanceof Fault) return error.code;
    throw error;
  }
};

/** Asserts that a property, which throws where it does not hold, holds; names a counterexample. */
export const holds = <T>(
  t: Test,
  property: fc.IProperty<T>,
  settings: fc.Parameters<T> = {},
): void => {
  const details = fc.check(property, settings);
  const reason = details.errorInstance instanceof Error ? details.errorInstance.stack : '';
  t.notOk(details.failed, fc.defaultReportMessage(details) ?? `${details.numRuns} runs`, {
    reason,
  });
};

/** Any 64-bit word. */
export const words64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

/** Objects with the given fields, made as the decoders make theirs: deep equality looks at that. */
export const plainRecord = <T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record<T>(fields, { noNullPrototype: true });
