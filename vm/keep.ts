// The points of a folder: which there are, and how they go.

import { type PointInfo, PointsFolder } from './points.js';

/** All points of a folder, oldest first. */
export const listPoints = ({ stores }: { readonly stores: string }): Promise<PointInfo[]> =>
  new PointsFolder(stores).list();

export interface RemovePointsOptions {
  readonly stores: string;
  readonly tags: readonly string[];
  /** Hears of space that stays taken, since tables were damaged. */
  readonly onNotice?: ((sentence: string) => void) | undefined;
}

/** Removes points with all their snapshots, one after another; resolves to the tags that are left. */
export const removePoints = async ({
  stores,
  tags,
  onNotice,
}: RemovePointsOptions): Promise<{ readonly kept: readonly string[] }> => {
  const folder = new PointsFolder(stores, onNotice);
  await folder.open();
  try {
    for (const tag of tags) folder.check(tag);
    for (const tag of new Set(tags)) await folder.remove(tag);
    return { kept: (await folder.list()).map(({ tag }) => tag) };
  } finally {
    folder.close();
  }
};
