// Times: the expressions of the URL (`now-7d/d`), buckets in a time zone, and how moments are printed.
// Moments are milliseconds since the epoch; ranges are [from, to).

export type Grain = 'minute' | 'hour' | 'day' | 'week' | 'month';

export const grains: Grain[] = ['minute', 'hour', 'day', 'week', 'month'];

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** approximate length of a grain, milliseconds */
export const grainLength: Record<Grain, number> = {
  minute,
  hour,
  day,
  week: 7 * day,
  month: 30 * day,
};

const expression = /^now((?:[+-]\d{1,6}[smhdwMy])*)(?:\/([mhdwMy]))?$/;
const absolute = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:\d{2})?)?$/;

type Parts = { y: number; mo: number; d: number; h: number; mi: number; s: number };

const zones = new Map<string, Intl.DateTimeFormat>();

function zoneFormat(tz: string): Intl.DateTimeFormat {
  let f = zones.get(tz);
  if (!f) {
    f = new Intl.DateTimeFormat('en-US', {
      timeZone: tz,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    zones.set(tz, f);
  }
  return f;
}

/** whether tz names a time zone that this browser knows */
export function validZone(tz: string): boolean {
  try {
    zoneFormat(tz);
    return true;
  } catch {
    return false;
  }
}

function wall(ms: number, tz: string): Parts {
  if (tz === 'UTC') {
    const t = new Date(ms);
    return {
      y: t.getUTCFullYear(),
      mo: t.getUTCMonth(),
      d: t.getUTCDate(),
      h: t.getUTCHours(),
      mi: t.getUTCMinutes(),
      s: t.getUTCSeconds(),
    };
  }
  const get: Record<string, number> = {};
  for (const p of zoneFormat(tz).formatToParts(ms)) get[p.type] = Number(p.value);
  return {
    y: get['year'] ?? 1970,
    mo: (get['month'] ?? 1) - 1,
    d: get['day'] ?? 1,
    h: get['hour'] ?? 0,
    mi: get['minute'] ?? 0,
    s: get['second'] ?? 0,
  };
}

/** the first moment at which a clock in tz shows that time or a later one */
function moment(y: number, mo: number, d: number, h: number, mi: number, s: number, tz: string): number {
  const guess = Date.UTC(y, mo, d, h, mi, s);
  if (tz === 'UTC') return guess;
  let t = guess - offset(guess, tz);
  t = guess - offset(t, tz);
  return t;
}

function offset(ms: number, tz: string): number {
  const p = wall(ms, tz);
  return Date.UTC(p.y, p.mo, p.d, p.h, p.mi, p.s) - Math.floor(ms / 1000) * 1000;
}

/** start of the bucket that holds ms; weeks start on Monday */
export function floor(ms: number, grain: Grain, tz: string): number {
  if (grain === 'minute') return Math.floor(ms / minute) * minute;
  const p = wall(ms, tz);
  switch (grain) {
    case 'hour': {
      // by subtraction, so that a repeated hour stays two buckets
      return Math.floor(ms / second) * second - (p.mi * minute + p.s * second);
    }
    case 'day':
      return moment(p.y, p.mo, p.d, 0, 0, 0, tz);
    case 'week': {
      const weekday = (new Date(Date.UTC(p.y, p.mo, p.d)).getUTCDay() + 6) % 7;
      return moment(p.y, p.mo, p.d - weekday, 0, 0, 0, tz);
    }
    case 'month':
      return moment(p.y, p.mo, 1, 0, 0, 0, tz);
  }
}

/** start of the bucket after the one that starts at ms */
export function next(ms: number, grain: Grain, tz: string): number {
  if (grain === 'minute') return ms + minute;
  if (grain === 'hour') return floor(ms + hour, 'hour', tz);
  const p = wall(ms, tz);
  switch (grain) {
    case 'day':
      return moment(p.y, p.mo, p.d + 1, 0, 0, 0, tz);
    case 'week':
      return moment(p.y, p.mo, p.d + 7, 0, 0, 0, tz);
    case 'month':
      return moment(p.y, p.mo + 1, 1, 0, 0, 0, tz);
  }
}

/** bucket starts that lie in [from, to), at most limit of them */
export function buckets(from: number, to: number, grain: Grain, tz: string, limit = 6000): number[] {
  const out: number[] = [];
  let t = floor(from, grain, tz);
  if (t < from) t = next(t, grain, tz);
  for (; t < to && out.length < limit; t = next(t, grain, tz)) out.push(t);
  return out;
}

const units: Record<string, Grain | 'year'> = { m: 'minute', h: 'hour', d: 'day', w: 'week', M: 'month', y: 'year' };

/** whether text is a time as the URL takes it */
export function validTime(text: string): boolean {
  if (expression.test(text)) return true;
  return absolute.test(text) && !Number.isNaN(Date.parse(text));
}

/** the moment that text means at now; NaN when it is not a time. `/d` rounds down. */
export function resolve(text: string, now: number, tz: string): number {
  const m = expression.exec(text);
  if (m) {
    let t = now;
    for (const step of m[1]?.match(/[+-]\d+[smhdwMy]/g) ?? []) t = shift(t, step, tz);
    const unit = m[2] ? units[m[2]] : undefined;
    if (unit === 'year') return moment(wall(t, tz).y, 0, 1, 0, 0, 0, tz);
    return unit ? floor(t, unit, tz) : t;
  }
  if (!absolute.test(text)) return NaN;
  if (/(Z|[+-]\d{2}:\d{2})$/.test(text)) return Date.parse(text);
  const n = text.split(/[-T:.]/).map(Number);
  if (Number.isNaN(Date.parse(text))) return NaN;
  return moment(n[0] ?? 0, (n[1] ?? 1) - 1, n[2] ?? 1, n[3] ?? 0, n[4] ?? 0, n[5] ?? 0, tz);
}

/** the range before a range: as many whole units when it begins at one, else as long; `now` stays in it */
export function previous(from: string, to: string, now: number, tz: string): { from: string; to: string } {
  const a = resolve(from, now, tz);
  const b = resolve(to, now, tz);
  const round = /\/([mhdwM])$/.exec(from)?.[1];
  const grain = round ? (units[round] as Grain) : floor(a, 'day', tz) === a && floor(b, 'day', tz) === b ? 'day' : null;
  let n = 0;
  if (grain) for (let t = a; t < b && n < 5000; t = next(t, grain, tz)) n++;
  const step = grain ? `-${n}${round ?? 'd'}` : `-${Math.round((b - a) / second)}s`;
  const move = (text: string, at: number) => {
    const m = expression.exec(text);
    if (m) return `now${m[1] ?? ''}${step}${m[2] ? '/' + m[2] : ''}`;
    return iso(shift(at, step, tz));
  };
  return { from: move(from, a), to: move(to, b) };
}

function shift(t: number, step: string, tz: string): number {
  const n = Number(step.slice(0, -1));
  switch (step.at(-1)) {
    case 's':
      return t + n * second;
    case 'm':
      return t + n * minute;
    case 'h':
      return t + n * hour;
  }
  const p = wall(t, tz);
  const rest = t - Math.floor(t / second) * second;
  switch (step.at(-1)) {
    case 'd':
      return moment(p.y, p.mo, p.d + n, p.h, p.mi, p.s, tz) + rest;
    case 'w':
      return moment(p.y, p.mo, p.d + 7 * n, p.h, p.mi, p.s, tz) + rest;
    case 'M':
      return moment(p.y, p.mo + n, p.d, p.h, p.mi, p.s, tz) + rest;
    default:
      return moment(p.y + n, p.mo, p.d, p.h, p.mi, p.s, tz) + rest;
  }
}

/** the finest grain that keeps a range readable, not finer than the view's */
export function autoGrain(length: number, finest: Grain): Grain {
  let g: Grain = 'month';
  if (length <= 6 * hour) g = 'minute';
  else if (length <= 8 * day) g = 'hour';
  else if (length <= 200 * day) g = 'day';
  else if (length <= 3 * 366 * day) g = 'week';
  return grains.indexOf(g) < grains.indexOf(finest) ? finest : g;
}

const two = (n: number) => String(n).padStart(2, '0');

/** 14:32:07 */
export function clock(ms: number, tz: string, seconds = true): string {
  const p = wall(ms, tz);
  return `${two(p.h)}:${two(p.mi)}` + (seconds ? `:${two(p.s)}` : '');
}

/** 2026-11-22 */
export function date(ms: number, tz: string): string {
  const p = wall(ms, tz);
  return `${p.y}-${two(p.mo + 1)}-${two(p.d)}`;
}

/** 2026-11-22 14:32, with seconds only when there are some */
export function dateTime(ms: number, tz: string): string {
  return `${date(ms, tz)} ${clock(ms, tz, Math.floor(ms / 1000) % 60 !== 0)}`;
}

/** the bucket as its grain is spoken of */
export function bucketLabel(ms: number, grain: Grain, tz: string): string {
  switch (grain) {
    case 'minute':
    case 'hour':
      return `${date(ms, tz)} ${clock(ms, tz, false)}`;
    case 'day':
      return date(ms, tz);
    case 'week':
      return `week of ${date(ms, tz)}`;
    case 'month':
      return date(ms, tz).slice(0, 7);
  }
}

/** absolute form for URLs, to the second, UTC */
export function iso(ms: number): string {
  return new Date(Math.round(ms / 1000) * 1000).toISOString().replace('.000Z', 'Z');
}

/** the dates of the last n days, oldest first, UTC */
export function lastDays(now: number, n: number): string[] {
  return Array.from({ length: n }, (_, i) => date(now - (n - 1 - i) * day, 'UTC'));
}
