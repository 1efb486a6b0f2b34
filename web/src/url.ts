// The URL is the state: what a page shows can be read from its address, and nothing else.
import { grains, resolve, validTime, validZone, type Grain } from './time';

/** one condition on a dimension; value null is NULL */
export interface Filter {
  dim: string;
  value: string | null;
  not: boolean;
}

export interface State {
  from: string;
  to: string;
  tz: string; // '' = the view's
  grain: Grain | ''; // '' = by the length of the range
  m: string[]; // [] = all of the view
  by: string[];
  f: Filter[];
  compare: '' | 'prev';
  live: boolean;
  table: boolean;
}

export const defaults: Readonly<State> = {
  from: 'now-1h',
  to: 'now',
  tz: '',
  grain: '',
  m: [],
  by: [],
  f: [],
  compare: '',
  live: true,
  table: false,
};

/** what a view allows; without it names are taken as they come */
export interface Names {
  measures: string[];
  dimensions: string[];
  grain: Grain;
}

export interface Parsed {
  state: State;
  notices: string[];
}

const known = new Set(['from', 'to', 'tz', 'grain', 'm', 'by', 'f', 'compare', 'live', 'table']);

/** reads a query string; whatever is invalid falls back to its default and is told in notices */
export function parse(search: string, names?: Names, now = Date.now()): Parsed {
  const p = new URLSearchParams(search);
  const notices: string[] = [];
  const s: State = structuredClone(defaults) as State;
  for (const key of new Set(p.keys())) {
    if (!known.has(key)) notices.push(`The address has a parameter “${key}” that this page does not know.`);
  }
  readRange(p, s, notices, now);
  const grain = p.get('grain');
  if (grain !== null) {
    if (!grains.includes(grain as Grain)) {
      notices.push(`grain=${grain} is not one of ${grains.join(', ')}.`);
    } else if (names && grains.indexOf(grain as Grain) < grains.indexOf(names.grain)) {
      notices.push(`grain=${grain} is finer than this view keeps (${names.grain}).`);
    } else {
      s.grain = grain as Grain;
    }
  }
  s.m = readNames(p.get('m'), 'm', 'measure', names?.measures, notices);
  s.by = readNames(p.get('by'), 'by', 'dimension', names?.dimensions, notices);
  const f = p.get('f');
  if (f) s.f = readFilters(f, names?.dimensions, notices);
  const compare = p.get('compare');
  if (compare === 'prev') s.compare = compare;
  else if (compare) notices.push(`compare=${compare} is not known: write compare=prev.`);
  s.live = readSwitch(p, 'live', liveByDefault(s), notices);
  s.table = readSwitch(p, 'table', false, notices);
  return { state: s, notices };
}

function readRange(p: URLSearchParams, s: State, notices: string[], now: number): void {
  const tz = p.get('tz');
  if (tz !== null && tz !== '') {
    if (validZone(tz)) s.tz = tz;
    else notices.push(`tz=${tz} is not a time zone.`);
  }
  for (const key of ['from', 'to'] as const) {
    const v = p.get(key);
    if (v === null) continue;
    if (validTime(v)) s[key] = v;
    else notices.push(`${key}=${v} is not a time: write now-7d, now-7d/d, 2026-11-22 or 2026-11-22T10:00:00Z.`);
  }
  const zone = s.tz || 'UTC';
  if (!(resolve(s.from, now, zone) < resolve(s.to, now, zone))) {
    notices.push(`The range ${s.from} … ${s.to} is empty, so the default is shown.`);
    s.from = defaults.from;
    s.to = defaults.to;
  }
}

function readNames(text: string | null, key: string, what: string, allowed: string[] | undefined, notices: string[]): string[] {
  if (!text) return [];
  const out: string[] = [];
  for (const name of text.split(',')) {
    if (name === '' || out.includes(name)) continue;
    if (allowed && !allowed.includes(name)) {
      notices.push(`${key}=${name}: this view has no ${what} of that name. It has ${allowed.join(', ')}.`);
      continue;
    }
    out.push(name);
  }
  return out;
}

function readSwitch(p: URLSearchParams, key: string, fallback: boolean, notices: string[]): boolean {
  const v = p.get(key);
  if (v === null) return fallback;
  if (v === '1' || v === '0') return v === '1';
  notices.push(`${key}=${v} is neither 0 nor 1.`);
  return fallback;
}

/** a range that ends now moves by itself unless told otherwise */
function liveByDefault(s: State): boolean {
  return s.to === 'now';
}

function readFilters(text: string, allowed: string[] | undefined, notices: string[]): Filter[] {
  const out: Filter[] = [];
  for (const part of splitFilters(text)) {
    const colon = part.indexOf(':');
    if (colon <= 0) {
      notices.push(`f=${part} is not a filter: write dimension:value or dimension:!value.`);
      continue;
    }
    const dim = part.slice(0, colon);
    if (allowed && !allowed.includes(dim)) {
      notices.push(`f=${part}: this view has no dimension ${dim}. It has ${allowed.join(', ')}.`);
      continue;
    }
    let value = part.slice(colon + 1);
    const not = value.startsWith('!');
    if (not) value = value.slice(1);
    out.push({ dim, not, value: value === '\\N' ? null : value.replace(/\\(.)/g, '$1') });
  }
  return out;
}

/** splits at commas that no backslash escapes; escapes stay */
function splitFilters(text: string): string[] {
  const out: string[] = [''];
  for (let i = 0; i < text.length; i++) {
    const c = text.charAt(i);
    if (c === ',') out.push('');
    else if (c === '\\' && i + 1 < text.length) out[out.length - 1] += c + text.charAt(++i);
    else out[out.length - 1] += c;
  }
  return out.filter((part) => part !== '');
}

/** f=category:travel,country:!gb; NULL is \N, and \ escapes , and \ and a leading ! */
export function filterText(f: Filter[]): string {
  return f
    .map(({ dim, value, not }) => {
      const v = value === null ? '\\N' : value.replace(/[\\,]/g, '\\$&').replace(/^!/, '\\!');
      return `${dim}:${not ? '!' : ''}${v}`;
    })
    .join(',');
}

/** the query string of a state, defaults left out; '' or '?…' */
export function format(s: State): string {
  const parts: string[] = [];
  const add = (key: string, value: string) => {
    parts.push(key + '=' + encodeURIComponent(value).replace(/%2C/g, ',').replace(/%2F/g, '/').replace(/%3A/g, ':').replace(/%20/g, '+'));
  };
  if (s.from !== defaults.from) add('from', s.from);
  if (s.to !== defaults.to) add('to', s.to);
  if (s.tz !== '') add('tz', s.tz);
  if (s.grain !== '') add('grain', s.grain);
  if (s.m.length > 0) add('m', s.m.join(','));
  if (s.by.length > 0) add('by', s.by.join(','));
  if (s.f.length > 0) add('f', filterText(s.f));
  if (s.compare) add('compare', s.compare);
  if (s.live !== liveByDefault(s)) add('live', s.live ? '1' : '0');
  if (s.table) add('table', '1');
  return parts.length > 0 ? '?' + parts.join('&') : '';
}

/** adds a condition, or takes it away when it is there already */
export function toggleFilter(f: Filter[], dim: string, value: string | null, not = false): Filter[] {
  const same = (x: Filter) => x.dim === dim && x.value === value;
  if (f.some((x) => same(x) && x.not === not)) return f.filter((x) => !same(x));
  return [...f.filter((x) => !same(x)), { dim, value, not }];
}
