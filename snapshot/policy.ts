// Which snapshots a policy keeps, as restic's "forget" means it: from the newest to the oldest, every rule
// keeps the last snapshot of each of its periods until it has kept its number of them.

/** How many to keep of each kind; what is left out keeps none. */
export interface KeepPolicy {
  readonly last?: number | undefined;
  readonly hourly?: number | undefined;
  readonly daily?: number | undefined;
  readonly weekly?: number | undefined;
  readonly monthly?: number | undefined;
  readonly yearly?: number | undefined;
}

export type KeepRule = keyof KeepPolicy;

const DAY_MS = 24 * 60 * 60 * 1000;

/** The ISO 8601 week of a local date, as year and week: weeks begin on Monday, week 1 has a Thursday. */
const isoWeek = (date: Date): string => {
  const day = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  const weekday = (date.getDay() + 6) % 7;
  const thursday = new Date(day + (3 - weekday) * DAY_MS);
  const year = thursday.getUTCFullYear();
  const week = 1 + Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / (7 * DAY_MS));
  return `${year} ${week}`;
};

/** A name for the period a local date lies in, one per rule. */
const PERIOD: Readonly<Record<Exclude<KeepRule, 'last'>, (date: Date) => string>> = {
  hourly: (d) => [d.getFullYear(), d.getMonth(), d.getDate(), d.getHours()].join(' '),
  daily: (d) => [d.getFullYear(), d.getMonth(), d.getDate()].join(' '),
  weekly: isoWeek,
  monthly: (d) => [d.getFullYear(), d.getMonth()].join(' '),
  yearly: (d) => String(d.getFullYear()),
};

export const KEEP_RULES: readonly KeepRule[] = [
  'last',
  'hourly',
  'daily',
  'weekly',
  'monthly',
  'yearly',
];

/**
 * For each date, newest first, the rules that keep it; none means it goes. `dates` are moments, periods are
 * those of the local time zone.
 */
export const applyPolicy = (policy: KeepPolicy, dates: readonly Date[]): KeepRule[][] => {
  const rules = KEEP_RULES.map((rule) => ({ rule, left: policy[rule] ?? 0, period: '' }));
  return dates.map((date, i) =>
    rules.flatMap((state) => {
      const period = state.rule === 'last' ? String(i) : PERIOD[state.rule](date);
      if (state.left === 0 || period === state.period) return [];
      state.left -= 1;
      state.period = period;
      return [state.rule];
    }),
  );
};
