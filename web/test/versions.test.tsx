// @vitest-environment happy-dom
import { render } from 'preact';
import { expect, test } from 'vitest';
import type { Answer, View } from '../src/api';
import { change, contrast, Found, rangeOf, sides } from '../src/versions';

const day = (d: number) => `2026-11-${String(d).padStart(2, '0')}T00:00:00Z`;
const answer = (measures: string[], rows: [number, string, ...unknown[]][]): Answer => ({
  columns: ['time', ...measures].map((name) => ({ name })),
  rows: rows.map(([d, , ...v]) => [day(d), ...v]),
  points: { state: rows.map(([, state]) => state) },
  meta: { complete_to: '2026-11-25T14:31:00Z' },
});

const before = answer(['posted', 'likes', 'gone'], [
  [20, 'complete', 10, 5, 1],
  [21, 'revised', 20, 6, 1],
  [22, 'complete', 30, null, 1],
  [23, 'complete', 40, 8, 1],
  [25, 'incomplete', 1, 1, 1],
]);
const after = answer(['likes', 'posted', 'new'], [
  [20, 'complete', 5, 10, 0],
  [21, 'complete', 60, 20, 0],
  [22, 'complete', 7, 31, 0],
  [23, 'backfilling', 0, 0, 0],
  [24, 'complete', 0, 0, 0],
  [25, 'incomplete', 1, 2, 0],
]);

test('only points that both versions have completely are compared, newest first', () => {
  expect(contrast(before, after)).toEqual({
    measures: [
      { name: 'likes', same: 1, differ: 2, before: 11, after: 72 },
      { name: 'posted', same: 2, differ: 1, before: 60, after: 61 },
    ],
    differences: [
      { time: day(22), measure: 'likes', before: null, after: 7 },
      { time: day(22), measure: 'posted', before: 30, after: 31 },
      { time: day(21), measure: 'likes', before: 6, after: 60 },
    ],
    compared: 3,
    open: 3,
    alone: ['new', 'gone'],
  });
  expect(contrast(before, before).differences).toEqual([]);
});

test('the version that is built goes before the one that stands by, and both need one that serves', () => {
  expect(sides(['building', 'serving', 'standby', 'dropped'])).toEqual(['serving', 'building']);
  expect(sides(['serving', 'standby'])).toEqual(['standby', 'serving']);
  for (const none of [['building'], ['serving', 'dropped'], ['standby'], []]) expect(sides(none)).toBeNull();
});

test('the range is in the address, and one that is not known is told', () => {
  expect(rangeOf('')).toEqual({ from: 'now-30d/d', notices: [] });
  expect(rangeOf('?from=now-90d/d')).toEqual({ from: 'now-90d/d', notices: [] });
  expect(rangeOf('?from=yesterday').notices).toHaveLength(1);
});

test('a change is told as a difference and in parts', () => {
  expect([change(60, 61), change(6, 3), change(0, 5), change(4, 4)]).toEqual(['+1 (+1.7%)', '−3 (−50.0%)', '+5', '0']);
});

test('sums are shown of what adds up, the rest by day', () => {
  const view = { name: 'pins', time_zone: 'UTC', measures: [{ name: 'posted', agg: 'count' }, { name: 'likes', agg: 'percentile' }] } as unknown as View;
  const at = document.createElement('div');
  render(<Found view={view} names={['serving', 'building']} c={contrast(before, after)} completeTo="2026-11-25T14:31:00Z" />, at);
  const table = (label: string) => [...at.querySelectorAll(`[aria-label="${label}"] tbody tr`)].map((r) => [...r.children].map((c) => c.textContent));
  expect(table('by measure')).toEqual([
    ['likes', '2 of 3', '', '', ''],
    ['posted', '1 of 3', '60', '61', '+1 (+1.7%)'],
  ]);
  expect(table('by day')[0]).toEqual(['2026-11-22', 'likes', '–', '7', '']);
  expect(at.textContent).toContain('3 of 6 numbers of 3 days differ. Not compared: 3 days that one of them has not completely. Only one of them has new, gone. Complete to 2026-11-25 14:31:00 UTC.');
});
