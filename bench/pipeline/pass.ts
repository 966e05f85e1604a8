// pass: a stage that does nothing. What a line of these takes is what the engine costs.

import { stage } from '../../pipeline/index.js';

export default stage({ name: 'pass', open: () => ({ batch() {} }) });
