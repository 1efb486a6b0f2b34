// From an answer of /v1/query to lines: aligned buckets, top values + other, and the split of each
// line into what is final and what is only so far. The server says which is which, point by point.
import type { Answer, Coverage, Meta } from './api';
import { buckets, dateTime, next, type Grain } from './time';

export type PointState = 'complete' | 'incomplete' | 'revised' | 'backfilling' | 'missing';

/** columns of an answer */
export interface Frame {
  time: number[] | null; // bucket starts, milliseconds
  dims: Map<string, (string | null)[]>;
  measures: Map<string, (number | null)[]>;
  state: PointState[]; // of each row
  n: number;
  meta: Meta;
}

/** reads an answer by the names asked for */
export function frame(a: Answer, dims: string[], measures: string[]): Frame {
  const names = a.columns.map((c) => (typeof c === 'string' ? c : c.name));
  const at = (name: string) => names.indexOf(name);
  const f: Frame = {
    time: null,
    dims: new Map(),
    measures: new Map(),
    state: a.rows.map((_, i) => (a.points?.state?.[i] ?? 'complete') as PointState),
    n: a.rows.length,
    meta: a.meta,
  };
  const kind = a.columns.findIndex((c) => typeof c !== 'string' && c.kind === 'time');
  const time = kind >= 0 ? kind : at('time');
  if (time >= 0) f.time = a.rows.map((r) => moment(r[time]));
  for (const d of dims) {
    const i = at(d);
    if (i >= 0) f.dims.set(d, a.rows.map((r) => text(r[i])));
  }
  for (const m of measures) {
    const i = at(m);
    if (i >= 0) f.measures.set(m, a.rows.map((r) => numeric(r[i])));
  }
  return f;
}

function moment(v: unknown): number {
  return typeof v === 'string' ? Date.parse(v) : NaN;
}

function text(v: unknown): string | null {
  if (v === null || v === undefined) return null;
  return typeof v === 'string' ? v : JSON.stringify(v);
}

/** 128-bit sums come as text */
function numeric(v: unknown): number | null {
  if (typeof v === 'number') return v;
  if (typeof v === 'string' && v !== '' && !Number.isNaN(Number(v))) return Number(v);
  return null;
}

/** how a NULL is shown */
export const nullLabel = '(none)';
export const otherKey = '\u0000other';

export interface Line {
  key: string; // value of the dimension, '' for the total
  label: string;
  other: boolean;
  values: (number | null)[]; // all points
  solid: (number | null)[]; // final ones
  tail: (number | null)[]; // so far; shares the final points beside it
}

export interface Series {
  x: number[]; // bucket starts, milliseconds
  state: PointState[]; // of each bucket
  words: string[]; // what a bucket's state means, for people; '' when it is complete
  lines: Line[];
}

export interface Shape {
  measure: string;
  by: string[];
  top: string[]; // keys that get a line of their own, in order
  other: string; // label of the rest, which the server merged; '': there is none
  additive: boolean; // counts and sums: no row in a covered bucket is a zero
  from: number;
  to: number;
  grain: Grain;
  tz: string;
}

/** key of a row: its values of by, joined */
export function rowKey(f: Frame, by: string[], i: number): string {
  return by.map((d) => f.dims.get(d)?.[i] ?? nullLabel).join(' · ');
}

export function series(f: Frame, s: Shape): Series {
  const x = buckets(s.from, s.to, s.grain, s.tz);
  const index = new Map(x.map((t, i) => [t, i]));
  const state = bucketStates(f, x, index, s);
  const make = (key: string, label: string, other = false): Line => ({
    key,
    label,
    other,
    values: new Array<number | null>(x.length).fill(null),
    solid: [],
    tail: [],
  });
  const lines = s.by.length === 0 ? [make('', 'total')] : s.top.map((k) => make(k, k));
  const byKey = new Map(lines.map((l) => [l.key, l]));
  if (s.other !== '') {
    const other = make(otherKey, s.other, true);
    lines.push(other);
    byKey.set(s.by.map(() => s.other).join(' · '), other);
  }
  const values = f.measures.get(s.measure);
  for (let i = 0; f.time && values && i < f.n; i++) {
    const at = index.get(f.time[i] ?? NaN);
    const v = values[i];
    if (at === undefined || v === null || v === undefined) continue;
    const line = byKey.get(s.by.length === 0 ? '' : rowKey(f, s.by, i));
    if (line) line.values[at] = v;
  }
  const begun = begunOf(f, x);
  for (const line of lines) finish(line, state, begun, s.additive);
  return { x, state, words: x.map((t, i) => stateWords(f.meta, t, state[i] ?? 'complete', s.grain, s.tz)), lines };
}

const words: Record<PointState, string> = {
  complete: '',
  incomplete: 'so far',
  revised: 'revised by late events',
  backfilling: 'history is being filled in',
  missing: 'missing',
};

/** a bucket's state in words: an incomplete one is not over, or began before there was data, or both */
export function stateWords(meta: Meta, start: number, state: PointState, grain: Grain, tz: string): string {
  const since = meta.partial?.find((p) => Date.parse(p.time) === start)?.since;
  if (state !== 'incomplete' || !since) return words[state];
  const over = next(start, grain, tz) <= (meta.complete_to ? Date.parse(meta.complete_to) : -Infinity);
  return `since ${dateTime(Date.parse(since), tz)}${over ? '' : ', so far'}`;
}

export const previousKey = '\u0000previous';

/** adds the total of the period before as a line of its own, point by point */
export function withPrevious(s: Series, before: Frame, measure: string, by: { additive: boolean; from: number; to: number; grain: Grain; tz: string }): Series {
  const x = buckets(by.from, by.to, by.grain, by.tz);
  const index = new Map(x.map((t, i) => [t, i]));
  const values = new Array<number | null>(s.x.length).fill(null);
  const numbers = before.measures.get(measure);
  const missing = (before.meta.coverage ?? []).filter(isHole).map((c) => [Date.parse(c.from), Date.parse(c.to)] as const);
  if (by.additive) x.forEach((t, i) => i < values.length && !missing.some(([a, b]) => t >= a && t < b) && (values[i] = 0));
  for (let i = 0; before.time && numbers && i < before.n; i++) {
    const at = index.get(before.time[i] ?? NaN);
    if (at !== undefined && at < values.length && before.state[i] !== 'missing') values[at] = numbers[i] ?? values[at] ?? null;
  }
  const line: Line = { key: previousKey, label: 'period before', other: true, values, solid: values, tail: new Array<number | null>(values.length).fill(null) };
  return { ...s, lines: [...s.lines, line] };
}

/** bars of the lines on top of each other: each line drawn as the sum of it and those before, the last first */
export function stacked(s: Series): Series {
  const sums = new Array<number>(s.x.length).fill(0);
  const lines = s.lines.map((l) => {
    const up = (v: number | null, i: number) => (v === null ? null : (sums[i] ?? 0) + v);
    const line = { ...l, solid: l.solid.map(up), tail: l.tail.map((v, i) => (l.solid[i] === null ? up(v, i) : null)) };
    l.values.forEach((v, i) => (sums[i] = (sums[i] ?? 0) + (v ?? 0)));
    return line;
  });
  return { ...s, lines: lines.reverse() };
}

/** the state of each bucket: as the server gave it to its rows, else by coverage and complete_to */
function bucketStates(f: Frame, x: number[], index: Map<number, number>, s: Shape): PointState[] {
  const completeTo = f.meta.complete_to ? Date.parse(f.meta.complete_to) : -Infinity;
  const missing = (f.meta.coverage ?? []).filter((c) => isHole(c)).map((c) => ({ ...c, a: Date.parse(c.from), b: Date.parse(c.to) }));
  const state = x.map((t): PointState => {
    const hole = missing.find((c) => t >= c.a && t < c.b);
    if (hole) return hole.source === 'backfilling' ? 'backfilling' : 'missing';
    return next(t, s.grain, s.tz) <= completeTo ? 'complete' : 'incomplete';
  });
  const told = new Set<number>();
  for (let i = 0; f.time && i < f.n; i++) {
    const at = index.get(f.time[i] ?? NaN);
    const st = f.state[i];
    if (at === undefined || !st) continue;
    if (!told.has(at) || worse(st, state[at] ?? 'complete')) state[at] = st;
    told.add(at);
  }
  return state;
}

/** which buckets the answer speaks of: one that lies ahead is neither a zero nor a gap */
function begunOf(f: Frame, x: number[]): boolean[] {
  const ends = (f.meta.coverage ?? []).map((c) => Date.parse(c.to));
  const end = Math.max(...ends, ...(f.time ?? []).map((t) => t + 1));
  return x.map((t) => t < end);
}

export function isHole(c: Coverage): boolean {
  return c.source === 'missing' || c.source === 'backfilling';
}

const rank: PointState[] = ['complete', 'revised', 'incomplete', 'backfilling', 'missing'];

function worse(a: PointState, b: PointState): boolean {
  return rank.indexOf(a) > rank.indexOf(b);
}

/** fills zeros where the data says so and splits the line at its last final point */
function finish(line: Line, state: PointState[], begun: boolean[], additive: boolean): void {
  const v = line.values;
  for (let i = 0; i < v.length; i++) {
    if (state[i] === 'missing') v[i] = null;
    else if (v[i] === null && additive && begun[i] && state[i] !== 'backfilling') v[i] = 0;
  }
  const final = (i: number) => state[i] === 'complete' || state[i] === 'revised' || state[i] === 'backfilling';
  line.solid = v.map((y, i) => (final(i) ? y : null));
  line.tail = v.map((y, i) => {
    if (state[i] === 'incomplete') return y;
    return final(i) && (state[i + 1] === 'incomplete' || state[i - 1] === 'incomplete') ? y : null;
  });
}
