// The shortest stage there is: everything passes through.

import { stage } from '../../../pipeline/index.js';

export default stage({ name: 'null', open: () => ({}) });
