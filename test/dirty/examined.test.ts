// The sources that read a tracker's file, under the examiner; and the examiner itself, which must find out a source
// that lies.

import t, { type Test } from 'tap';
import { type DirtySource, openSource } from '../../dirty/index.js';
import { examineSource, type SourceWorld } from '../../examine/index.js';
import { tempDir } from '../tools/files.js';
import { Tracker, type TrackerKind } from '../tools/tracker.js';

const PAGE = 4096;

const worldOf =
  (t: Test, kind: TrackerKind) =>
  (size: number): SourceWorld => {
    const tracker = new Tracker(tempDir(t), kind, size);
    const { spec } = tracker;
    return {
      image: tracker.image,
      source: openSource(spec),
      write: (offset, bytes) => tracker.write(offset, bytes),
      beforeLine: () => tracker.save(),
      afterCommit: () => tracker.clear(),
      reopen: () => openSource(spec),
    };
  };

await examineSource(t, { name: 'bitmap', unit: PAGE, make: worldOf(t, 'bitmap') });
await examineSource(t, { name: 'holes', unit: PAGE, make: worldOf(t, 'holes') });

/** Says that page 5 never changes. */
const lying = (source: DirtySource): DirtySource => ({
  ...source,
  begin: async (image, since) => {
    const epoch = await source.begin(image, since);
    const { changes } = epoch;
    if (!changes.known) return epoch;
    const extents = [...changes.extents()].flatMap(({ start, end }) =>
      start <= 5 * PAGE && end >= 6 * PAGE
        ? [
            { start, end: 5 * PAGE },
            { start: 6 * PAGE, end },
          ].filter((extent) => extent.end > extent.start)
        : [{ start, end }],
    );
    return { ...epoch, changes: { known: true, extents: () => extents } };
  },
});

t.test('the examiner finds a source that misses one page', async (t) => {
  const failures: string[] = [];
  const runner = {
    test: async (name: string, body: (t: object) => Promise<void>): Promise<void> => {
      await body({}).catch((error: Error) => failures.push(`${name}: ${error.message}`));
    },
  };
  const make = (size: number): SourceWorld => {
    const world = worldOf(t, 'bitmap')(size);
    return { ...world, source: lying(world.source) };
  };
  await examineSource(runner, { name: 'liar', unit: PAGE, make, seed: 1 });
  t.ok(failures.length > 0, 'it is told');
  t.match(failures[0], /byte 2[0-4]\d{3} has changed and is not named/);
});
