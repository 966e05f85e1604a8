// What happens inside an image between two points in time, by kind; how much of it depends on the image's size.

/**
 * `usual`: a little of everything. The others take turns in a study: `trees`, packages are upgraded and files come and
 * go; `database`, rows are loaded and the file is rebuilt; `small`, scattered small updates; `quiet`, a log grows.
 */
export type RoundKind = 'usual' | 'trees' | 'database' | 'small' | 'quiet';

/** The kinds that take turns in a study. */
export const STUDY_ROUNDS = ['trees', 'small', 'database', 'small', 'quiet'] as const;

/** How much of each a round has. */
export interface Amounts {
  /** Files that come, that go, that get another's content. */
  readonly added: number;
  readonly removed: number;
  readonly replaced: number;
  /** Files written anew with the content they have, as an upgrade does with most: it lies elsewhere then. */
  readonly rewritten: number;
  readonly logLines: number;
  /** Records of a few bytes that are changed in place. */
  readonly patches: number;
  readonly sql: 'none' | 'small' | 'bulk';
}

const NOTHING: Amounts = {
  added: 0,
  removed: 0,
  replaced: 0,
  rewritten: 0,
  logLines: 200,
  patches: 0,
  sql: 'none',
};

/** Amounts for an image with `files` files; `luck` is a random number below 4. */
export const amountsOf = (kind: RoundKind, files: number, luck: number): Amounts => {
  const share = (part: number): number => Math.max(1, Math.floor(files / part));
  switch (kind) {
    case 'usual':
      return { ...NOTHING, added: 3 + luck, removed: 2, replaced: 1, sql: 'small' };
    case 'trees': {
      const [added, rewritten] = [share(200), share(50)];
      return { ...NOTHING, added, removed: added, replaced: share(200), rewritten, sql: 'small' };
    }
    case 'database':
      return { ...NOTHING, sql: 'bulk' };
    case 'small':
      return { ...NOTHING, patches: 150, sql: 'small' };
    case 'quiet':
      return NOTHING;
  }
};

/** SQL that makes the database, of so many rows of about 150 bytes with their index. */
export const firstSql = (rows: number): string => `
create table items (id integer primary key, name text, changed integer, note text);
create index by_name on items (name);
with recursive n(i) as (select 1 union all select i + 1 from n where i < ${rows})
  insert into items select i, 'item ' || (i * 7919 % ${rows}), 0, hex(randomblob(40)) from n;
`;

/** Scattered updates, some inserts, some deletes: what a small service does between two takes. */
const smallSql = (round: number, rows: number): string => `
begin;
update items set changed = changed + 1, note = hex(randomblob(40))
  where id % ${Math.max(997, Math.floor(rows / 300))} = ${round * 31};
update items set name = 'renamed ' || id where id between ${round * 200} and ${round * 200 + 15};
delete from items where id % ${Math.max(3001, Math.floor(rows / 20))} = ${round};
commit;
insert into items (name, changed, note)
  select 'new ' || id, ${round}, note from items where id % 101 = ${round} limit 80;
`;

/** A load of new rows, old ones deleted, and the file rebuilt. */
const bulkSql = (round: number, rows: number): string => `
insert into items (name, changed, note)
  select 'loaded ' || id, ${round}, hex(randomblob(40)) from items limit ${Math.floor(rows / 10)};
delete from items where id % 17 = ${round % 17};
vacuum;
`;

export const sqlOf = (sql: Amounts['sql'], round: number, rows: number): string =>
  sql === 'none' ? '' : sql === 'small' ? smallSql(round, rows) : bulkSql(round, rows);
