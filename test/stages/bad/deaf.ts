// A stage that goes on waiting when the run was cancelled.

import { stage } from '../../../pipeline/index.js';

const PATIENCE_SECONDS = 2;
const WAIT_MS = 2500;

export default stage({
  name: 'deaf',
  patience: PATIENCE_SECONDS,
  open: () => ({ batch: () => new Promise<void>((next) => setTimeout(next, WAIT_MS)) }),
});
