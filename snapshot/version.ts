// Who wrote a record.

import { readFileSync } from 'node:fs';

const { version } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string };

export const VERSION = version;
export const TOOL = `nvsnap ${version}`;
