// Where clusters lie, entered in batches that have no room for them.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type SlabLayout, SlabPool } from '../../pipeline/index.js';
import { Store } from '../../qcow2/index.js';
import { take } from '../../snapshot/index.js';
import { SnapshotMap } from '../../snapshot/map.js';
import { Random, tempDir } from '../tools/files.js';

const CLUSTER = 4096;
const CLUSTERS = 8;
const SIZE = CLUSTERS * CLUSTER;

t.test(
  'a payload for which there is no room is an error, not whatever was in the slab',
  async (t) => {
    const folder = tempDir(t);
    const [image, path] = [join(folder, 'image'), join(folder, 'store')];
    const random = new Random(1);
    const half = (): Buffer => Buffer.concat([random.bytes(CLUSTER / 2)], CLUSTER);
    fs.writeFileSync(image, Buffer.concat(Array.from({ length: CLUSTERS }, half)));
    await take({ image, store: path, tag: 'a', clusterSize: CLUSTER });
    const store = Store.open(path, 'r');
    t.teardown(() => store.file.close());
    const [snapshot] = store.snapshots;
    if (!snapshot) throw new Error('there is a snapshot');
    const use = { size: SIZE, window: { start: 0, end: SIZE }, digests: undefined };
    const map = new SnapshotMap(store, snapshot, use);
    const locateAll = async (packedBytes: number): Promise<void> => {
      const layout: SlabLayout = { clusterSize: CLUSTER, clusters: CLUSTERS, packedBytes };
      const batch = await new SlabPool(layout, 1).lease();
      batch.begin(0, SIZE);
      const locator = map.locator(batch);
      for (let i = 0; i < CLUSTERS; i += 1) map.locate(batch, i, locator);
    };
    await locateAll(2 * SIZE);
    await t.rejects(locateAll(SIZE / 4), /no room in its batch for the payload of cluster \d/);
  },
);
