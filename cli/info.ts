// nvsnap info STORE [SNAPSHOT]

import { formatSize } from '../disk/index.js';
import { info, type SnapshotInfo, type StoreInfo } from '../snapshot/index.js';
import type { Screen } from './screen.js';

const lines = (pairs: readonly (readonly [string, string])[]): string => {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${`${name}:`.padEnd(width + 2)}${value}`).join('\n');
};

const aboutStore = (store: StoreInfo): string =>
  lines([
    ['store', store.store],
    ['made by', store.madeBy],
    ['uuid', store.uuid ?? '-'],
    ['file size', formatSize(store.fileBytes)],
    ['disk size', formatSize(store.diskBytes)],
    ['cluster size', formatSize(store.clusterSize)],
    [
      'compression',
      [store.compression, ...store.stages.map(({ name, version }) => `${name} ${version}`)].join(
        ', ',
      ) + (store.standard ? '' : ' (private: read it with nvsnap)'),
    ],
    ['digest', store.digest ?? '-'],
    ['snapshots', String(store.snapshots.length)],
  ]);

const aboutSnapshot = (s: SnapshotInfo): string =>
  lines([
    ['snapshot', `${s.tag} (#${s.id})`],
    ['uuid', s.uuid ?? '-'],
    ['parent', s.parent ?? '-'],
    ['date', s.date],
    ['image', s.image ?? '-'],
    ['image size', `${formatSize(s.imageBytes)} (${s.imageBytes} bytes)`],
    [
      'stored',
      s.storedBytes === null ? '-' : `${formatSize(s.storedBytes)} in ${s.storedClusters} clusters`,
    ],
    ['dirty source', s.dirty ?? '-'],
    ['taken by', s.tool ?? 'another program'],
  ]);

export default async (
  [store = '', snapshot]: readonly string[],
  _options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const facts = await info({ store, snapshot });
  const [only] = facts.snapshots;
  if (snapshot === undefined || !only) screen.result(facts, aboutStore);
  else screen.result(only, aboutSnapshot);
  return 0;
};
