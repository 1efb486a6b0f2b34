import { describe, expect, test } from 'vitest';
import type { Answer } from '../src/api';
import { frame, otherKey, series, type Shape } from '../src/series';

const t = (m: number) => `2026-11-24T10:${String(m).padStart(2, '0')}:00Z`;
const shape = (patch: Partial<Shape> = {}): Shape => ({
  measure: 'posted',
  by: [],
  top: [],
  other: '',
  additive: true,
  from: Date.parse(t(0)),
  to: Date.parse(t(5)),
  grain: 'minute',
  tz: 'UTC',
  ...patch,
});
const answer = (rows: unknown[][], state: string[], meta: Answer['meta'] = { complete_to: t(3) }): Answer => ({
  columns: ['time', 'category', 'posted'],
  rows,
  points: { state },
  meta,
});
const lines = (a: Answer, s: Partial<Shape> = {}) => series(frame(a, ['category'], ['posted']), shape(s));

describe('the unfinished tail', () => {
  const a = answer(
    [[t(0), 'a', 5], [t(1), 'a', 6], [t(2), 'a', 7], [t(3), 'a', 4], [t(4), 'a', 1]],
    ['complete', 'complete', 'complete', 'incomplete', 'incomplete'],
  );

  test('is a second line that shares the last complete point', () => {
    const [line] = lines(a).lines;
    expect(line?.solid).toEqual([5, 6, 7, null, null]);
    expect(line?.tail).toEqual([null, null, 7, 4, 1]);
  });

  test('stands alone when nothing is complete', () => {
    const [line] = lines(answer(a.rows, new Array<string>(5).fill('incomplete'), { complete_to: null })).lines;
    expect(line?.solid).toEqual([null, null, null, null, null]);
    expect(line?.tail).toEqual([5, 6, 7, 4, 1]);
  });

  test('is told by the server, not by a clock: an old point may be incomplete', () => {
    const [line] = lines(answer(a.rows, ['incomplete', 'complete', 'complete', 'complete', 'complete'])).lines;
    expect(line?.solid).toEqual([null, 6, 7, 4, 1]);
    expect(line?.tail).toEqual([5, 6, null, null, null]); // it leads to the first whole one
  });

  test('a bucket that begins before the data says since when there is any', () => {
    const partial = [{ time: t(0), since: '2026-11-24T14:00:20Z' }];
    const s = lines(answer(a.rows, ['incomplete', 'complete', 'complete', 'complete', 'incomplete'], { complete_to: t(4), partial }));
    expect(s.words).toEqual(['since 2026-11-24 14:00:20', '', '', '', 'so far']);
    expect(lines(answer(a.rows, ['incomplete', 'incomplete', 'incomplete', 'incomplete', 'incomplete'], { complete_to: null, partial })).words[0]).toBe('since 2026-11-24 14:00:20, so far');
  });

  test('has no zeros for buckets that have not begun, but has those of the one that has', () => {
    const coverage = [{ from: t(0), to: t(4), source: 'live' }];
    const [line] = lines(answer(a.rows.slice(0, 3), ['complete', 'complete', 'complete'], { complete_to: t(3), coverage })).lines;
    expect(line?.tail).toEqual([null, null, 7, 0, null]);
  });
});

describe('gaps and zeros', () => {
  const meta = { complete_to: t(5), coverage: [{ from: t(0), to: t(2), source: 'missing' }, { from: t(2), to: t(5), source: 'live' }] };

  test('a covered bucket without a row is a true zero of a count, a missing one is nothing', () => {
    const s = lines(answer([[t(3), 'a', 7]], ['complete'], meta));
    expect(s.lines[0]?.values).toEqual([null, null, 0, 7, 0]);
    expect(s.state).toEqual(['missing', 'missing', 'complete', 'complete', 'complete']);
  });

  test('a ratio or average without a row is nothing', () => {
    const s = lines(answer([[t(3), 'a', 7]], ['complete'], meta), { additive: false });
    expect(s.lines[0]?.values).toEqual([null, null, null, 7, null]);
  });

  test('null of the server stays null', () => {
    const s = lines(answer([[t(3), 'a', null]], ['complete'], meta), { additive: false });
    expect(s.lines[0]?.values).toEqual([null, null, null, null, null]);
  });

  test('backfilling points are drawn as such', () => {
    const s = lines(answer([[t(0), 'a', 3]], ['backfilling'], { complete_to: t(5), coverage: [{ from: t(0), to: t(1), source: 'backfilling' }] }));
    expect(s.state[0]).toBe('backfilling');
    expect(s.lines[0]?.solid[0]).toBe(3);
  });
});

describe('values of a dimension', () => {
  const rows = [[t(0), 'a', 5], [t(0), 'b', 3], [t(0), null, 2], [t(1), 'a', 1], [t(1), 'c', 9]];
  const state = new Array<string>(5).fill('complete');

  test('the top have lines, and so has what the server merged', () => {
    const merged = [[t(0), 'a', 5], [t(0), '(other)', 3], [t(0), null, 2], [t(1), 'a', 1], [t(1), '(other)', 9]];
    const s = lines(answer(merged, state), { by: ['category'], top: ['a', '(none)'], other: '(other)' });
    expect(s.lines.map((l) => l.key)).toEqual(['a', '(none)', otherKey]);
    expect(s.lines.map((l) => l.label)).toEqual(['a', '(none)', '(other)']);
    expect(s.lines.map((l) => l.values.slice(0, 2))).toEqual([[5, 1], [2, 0], [3, 9]]);
  });

  test('rows of values without a line are left alone', () => {
    const s = lines(answer(rows, state), { by: ['category'], top: ['a'] });
    expect(s.lines.map((l) => l.key)).toEqual(['a']);
  });

  test('a state of one value is the state of the bucket, the least final wins', () => {
    const s = lines(answer(rows, ['complete', 'revised', 'complete', 'complete', 'incomplete']), { by: ['category'], top: ['a'] });
    expect(s.state.slice(0, 2)).toEqual(['revised', 'incomplete']);
  });

  test('sums that came as text are numbers', () => {
    const s = lines(answer([[t(0), 'a', '12']], ['complete']));
    expect(s.lines[0]?.values[0]).toBe(12);
  });
});
