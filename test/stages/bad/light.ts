// The same as observer, in the threads of the stage before it.

import type { Stage } from '../../../pipeline/index.js';
import observer from './observer.js';

const light: Stage = { ...(observer as Stage), light: true };

export default light;
