// Somebody whom permissions bind.

import { nvsnap } from './nvsnap.js';

const NOBODY = 65534;

/**
 * Permissions bind everyone but root, so root becomes somebody else: options for a process of nvsnap. Undefined where this
 * checkout is not theirs to run.
 */
export const stranger = async (): Promise<{ uid?: number } | undefined> => {
  if (process.getuid?.() !== 0) return {};
  const { status } = await nvsnap(['--version'], { uid: NOBODY, gid: NOBODY, cwd: '/' });
  return status === 0 ? { uid: NOBODY } : undefined;
};
