// What a policy keeps. The expectations are what restic 0.14.0 answered to "forget --dry-run --json" for
// snapshots of these dates and these rules, with TZ=UTC.

import fc from 'fast-check';
import t from 'tap';
import { applyPolicy, KEEP_RULES, type KeepPolicy } from '../../snapshot/policy.js';

process.env.TZ = 'UTC';

/** Oldest first: a turn of the year inside an ISO week, days with several, months with none. */
const DATES = [
  '2024-12-28T23:30',
  '2024-12-29T02:30',
  '2024-12-29T09:30',
  '2024-12-30T10:30',
  '2025-01-02T10:30',
  '2025-01-11T10:30',
  '2025-02-20T10:30',
  '2025-02-20T13:30',
  '2025-02-20T20:30',
  '2025-02-21T21:30',
  '2025-02-24T21:30',
  '2025-03-05T21:30',
  '2025-04-14T21:30',
  '2025-04-15T00:30',
];

/** Policies, and the places in DATES of what restic keeps. */
const ANSWERS: ReadonlyArray<readonly [KeepPolicy, readonly number[]]> = [
  [{ last: 3 }, [13, 12, 11]],
  [{ hourly: 3 }, [13, 12, 11]],
  [{ daily: 4 }, [13, 12, 11, 10]],
  [{ weekly: 3 }, [13, 11, 10]],
  [{ monthly: 2 }, [13, 11]],
  [{ monthly: 20 }, [13, 11, 10, 5, 3]],
  [{ yearly: 1 }, [13]],
  [{ yearly: 5 }, [13, 3]],
  [{ weekly: 2, last: 1, daily: 3 }, [13, 12, 11]],
];

const newestFirst = DATES.map((date) => new Date(`${date}Z`)).reverse();

for (const [policy, expected] of ANSWERS) {
  t.test(`as restic: ${JSON.stringify(policy)}`, async (t) => {
    const rules = applyPolicy(policy, newestFirst);
    const kept = rules.flatMap((by, i) => (by.length > 0 ? [DATES.length - 1 - i] : []));
    t.same(kept, expected);
  });
}

t.test('ISO weeks at the turn of years', async (t) => {
  // 2020 has 53 weeks; 30 December 2024 is in week 1 of 2025; 1 January 2023 in week 52 of 2022.
  const same = [
    ['2020-12-28T12:00Z', '2021-01-03T23:59Z', true],
    ['2021-01-03T23:59Z', '2021-01-04T00:00Z', false],
    ['2024-12-30T00:00Z', '2025-01-05T23:59Z', true],
    ['2022-12-26T00:00Z', '2023-01-01T12:00Z', true],
    ['2023-01-01T12:00Z', '2023-01-02T00:00Z', false],
    // Week 1 of two years.
    ['2024-01-03T00:00Z', '2024-12-31T00:00Z', false],
  ] as const;
  for (const [older, newer, together] of same) {
    const rules = applyPolicy({ weekly: 2 }, [new Date(newer), new Date(older)]);
    t.equal(rules[1]?.length === 0, together, `${older} and ${newer}`);
  }
});

t.test('rules for any dates', async (t) => {
  const date = fc
    .integer({ min: Date.UTC(2019, 0, 1), max: Date.UTC(2027, 0, 1) })
    .map((ms) => new Date(ms));
  const count = fc.option(fc.nat(12), { nil: undefined });
  const policy = fc.record(Object.fromEntries(KEEP_RULES.map((rule) => [rule, count])));
  fc.assert(
    fc.property(fc.array(date, { maxLength: 60 }), policy, (dates, asked) => {
      const keep: KeepPolicy = asked;
      const sorted = dates.toSorted((a, b) => +b - +a);
      const rules = applyPolicy(keep, sorted);
      const wanted = KEEP_RULES.some((rule) => (keep[rule] ?? 0) > 0);
      return (
        rules.length === sorted.length &&
        // The newest is kept by every rule that keeps anything.
        (sorted.length === 0 || wanted === (rules[0]?.length ?? 0) > 0) &&
        KEEP_RULES.every((rule) => {
          const by = rules.filter((of) => of.includes(rule)).length;
          const most = Math.min(keep[rule] ?? 0, sorted.length);
          return by <= most && (rule !== 'last' || by === most);
        })
      );
    }),
  );
  t.pass('no rule keeps more than its number, and the newest always stays');
});
