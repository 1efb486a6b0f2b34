// @vitest-environment happy-dom
import { expect, test } from 'vitest';
import { look } from '../src/days';
import { deadlineWords, missed, type Day } from '../src/status';
import { keep, type Tailed } from '../src/tail';

const now = Date.parse('2026-11-24T07:00:00Z');
const day = (patch: Partial<Day>): Day => ({ stream: 'pin', date: '2026-11-23', zone: 'UTC', state: 'complete', ...patch });

test.each([
  [day({}), '', false, 'complete'],
  [day({ deadline_at: '2026-11-24T06:00:00Z', landed_at: '2026-11-24T05:12:00Z' }), '48 min early', false, 'complete'],
  [day({ deadline_at: '2026-11-24T06:00:00Z', landed_at: '2026-11-24T08:00:00Z' }), '2 h late', true, 'late'],
  [day({ deadline_at: '2026-11-24T06:00:00Z', landed_at: '2026-11-24T05:12:00Z', revised: true, late_events: 3 }), '48 min early', false, 'revised'],
  [day({ state: 'waiting', deadline_at: '2026-11-24T10:00:00Z' }), 'due in 3 h', false, 'waiting'],
  [day({ state: 'waiting', deadline_at: '2026-11-24T06:00:00Z' }), 'missed 1 h ago', true, 'late'],
])('a day and its deadline', (d, words, late, shown) => {
  expect(deadlineWords(d, now)).toBe(words);
  expect(missed(d, now)).toBe(late);
  expect(look(d, now)).toBe(shown);
});

test('the newest events stay, at the top', () => {
  const row = (offset: number): Tailed => ({ partition: 0, offset, received_at: '' });
  const rows = keep(keep([], [row(1), row(2)]), [row(3)]);
  expect(rows.map((r) => r.offset)).toEqual([3, 2, 1]);
  expect(keep(rows, Array.from({ length: 500 }, (_, i) => row(10 + i)))).toHaveLength(300);
});
