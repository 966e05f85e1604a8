// The engine's own stages under the examiner of users' stages. In full, on more than one choice of content.

import t from 'tap';
import { examineBuiltIn } from '../examine/built-in.js';

const FULL = process.env.NVSNAP_SLOW === 'full';
t.setTimeout(FULL ? 1_800_000 : 300_000);

for (let round = 0; round < (FULL ? 20 : 1); round += 1) await examineBuiltIn(t);
