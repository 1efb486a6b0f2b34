// What the Explore page asks of the server, from the state of its address.
import type { Query, View } from './api';
import { queryString } from './api';
import { slots } from './color';
import { filterText, type State } from './url';
import { autoGrain, clock, date, grainLength, iso, previous, resolve, type Grain } from './time';

export interface Presets {
  value: string;
  label: string;
  title: string;
  from: string;
}

export const presets: Presets[] = [
  { value: '15m', label: '15m', title: 'last 15 minutes', from: 'now-15m' },
  { value: '1h', label: '1h', title: 'last hour', from: 'now-1h' },
  { value: '6h', label: '6h', title: 'last 6 hours', from: 'now-6h' },
  { value: '24h', label: '24h', title: 'last 24 hours (d)', from: 'now-24h' },
  { value: '7d', label: '7d', title: 'last 7 days (w)', from: 'now-7d' },
  { value: '30d', label: '30d', title: 'last 30 days (m)', from: 'now-30d' },
  { value: '90d', label: '90d', title: 'last 90 days', from: 'now-90d' },
];

/** measures that are added up: no row is a zero, and a sum of rows means something */
export function additive(agg: string | undefined): boolean {
  return agg === 'count' || agg === 'sum';
}

export function measuresOf(view: View, s: State): string[] {
  return s.m.length > 0 ? s.m : view.measures.slice(0, 4).map((m) => m.name);
}

export interface Asked {
  zone: string;
  grain: Grain;
  measures: string[];
  totals: Query;
  series: Query;
  before: { totals: Query; series: Query } | null; // the same of the period before
}

/** now is the server's clock where it is known */
export function ask(view: View, s: State, now: number): Asked {
  const zone = s.tz || view.time_zone || 'UTC';
  const length = resolve(s.to, now, zone) - resolve(s.from, now, zone);
  const grain = s.grain || autoGrain(length, view.grain);
  const measures = measuresOf(view, s);
  const base: Query = { view: view.name, measures, f: filterText(s.f), from: s.from, to: s.to, tz: zone };
  const series: Query = { ...base, by: s.by, grain };
  if (s.by.length > 0) Object.assign(series, { order: `-${measures[0] ?? ''}`, limit: slots });
  let before: Asked['before'] = null;
  if (s.compare) {
    const range = previous(s.from, s.to, now, zone);
    before = { totals: { ...base, ...range }, series: { ...base, ...range, grain } };
  }
  return { zone, grain, measures, totals: base, series, before };
}

/** the board of a dimension leaves out the conditions on that dimension, so that others can be picked */
export function board(view: View, s: State, dim: string, measures: string[], zone: string): Query {
  const by = measures[0] ?? '';
  return {
    view: view.name,
    measures: [by],
    by: [dim],
    f: filterText(s.f.filter((x) => x.dim !== dim)),
    from: s.from,
    to: s.to,
    tz: zone,
    order: `-${by}`,
    limit: 100,
  };
}

export function curl(q: Query, origin: string): string {
  return `curl -s '${origin}/v1/query?${queryString(q).replace(/'/g, '%27')}'`;
}

/** single-quoted for a shell where needed */
function shell(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replace(/'/g, `'\\''`)}'`;
}

export function cli(q: Query): string {
  const parts = ['pinflow', 'query', shell(q.view)];
  if (q.measures.length > 0) parts.push('-m', shell(q.measures.join(',')));
  if (q.by && q.by.length > 0) parts.push('--by', shell(q.by.join(',')));
  if (q.f) parts.push('-f', shell(q.f));
  parts.push('--from', shell(q.from), '--to', shell(q.to));
  if (q.grain) parts.push('--grain', q.grain);
  if (q.order) parts.push('--order', shell(q.order));
  if (q.limit) parts.push('--limit', String(q.limit));
  if (q.tz && q.tz !== 'UTC') parts.push('--time-zone', shell(q.tz));
  return parts.join(' ');
}

/** the range as far as it goes back or forth again, in absolute times */
export function shifted(s: State, zone: string, now: number, direction: -1 | 1): Pick<State, 'from' | 'to'> {
  const from = resolve(s.from, now, zone);
  const to = resolve(s.to, now, zone);
  const by = (to - from) * direction;
  return { from: iso(from + by), to: iso(to + by) };
}

/** how much more or less than before: +12%, −3.4%, ×5.2; '' when there is nothing to compare with */
export function change(now: number | null, before: number | null): string {
  if (now === null || before === null || before === 0 || !Number.isFinite(now / before)) return '';
  const by = now / before - 1;
  if (by >= 2) return `×${(now / before).toFixed(1)}`;
  if (by === 0) return '±0%';
  const digits = Math.abs(by) < 0.1 ? 1 : 0;
  return `${by < 0 ? '−' : '+'}${(100 * Math.abs(by)).toFixed(digits)}%`;
}

/** the range in words: 13:32 – 14:32, 22 – 23 Nov */
export function rangeWords(from: number, to: number, zone: string): string {
  const whole = clock(from, zone) === '00:00:00' && clock(to, zone) === '00:00:00';
  const a = date(from, zone);
  if (whole) {
    const b = date(to - 1, zone);
    return a === b ? a : `${a} – ${b}`;
  }
  const seconds = to - from < 2 * grainLength.minute;
  const b = date(to, zone);
  const begin = clock(from, zone) === '00:00:00' && a !== b ? a : `${a} ${clock(from, zone, seconds)}`;
  return `${begin} – ${a === b ? '' : b + ' '}${clock(to, zone, seconds)}`;
}
