// @vitest-environment happy-dom
import { expect, test } from 'vitest';
import { look } from '../src/days';
import { atRisk, deadlineWords, landingWords, missed, type Day } from '../src/status';
import { yesterdays } from '../src/today';
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

test('a day that waits says when it will land, and whether that is too late', () => {
  const waiting = day({ state: 'waiting', deadline_at: '2026-11-24T10:00:00Z', eta_from: '2026-11-24T09:20:00Z', eta_to: '2026-11-24T09:45:10Z' });
  expect(landingWords(waiting, now)).toBe('ETA 09:20–09:45');
  expect(atRisk(waiting)).toBe(false);
  const slow = { ...waiting, eta_to: '2026-11-25T01:00:00Z' };
  expect(landingWords(slow, now)).toBe('ETA 09:20–2026-11-25 01:00');
  expect(atRisk(slow)).toBe(true);
  expect(landingWords({ ...waiting, zone: 'Asia/Kolkata' }, now)).toBe('ETA 14:50–15:15');
  expect(landingWords(day({ state: 'waiting' }), now)).toBe('–');
  expect(atRisk(day({ landed_at: '2026-11-24T05:00:00Z', deadline_at: '2026-11-24T06:00:00Z' }))).toBe(false);
});

test('each zone has a yesterday of its own', () => {
  const late = Date.parse('2026-11-24T20:00:00Z'); // the 25th in Kolkata
  const all = ['UTC', 'Asia/Kolkata', 'America/New_York'].flatMap((zone) => ['2026-11-22', '2026-11-23', '2026-11-24'].flatMap((date) => ['pin', 'geo'].map((stream) => day({ zone, date, stream }))));
  expect(yesterdays(all, late).map((y) => [y.zone, y.day, y.of.length])).toEqual([['UTC', '2026-11-23', 2], ['America/New_York', '2026-11-23', 2], ['Asia/Kolkata', '2026-11-24', 2]]);
  expect(yesterdays(all.filter((d) => d.date === '2026-11-22'), late)).toEqual([]);
});

test('the newest events stay, at the top', () => {
  const row = (offset: number): Tailed => ({ partition: 0, offset, received_at: '' });
  const rows = keep(keep([], [row(1), row(2)]), [row(3)]);
  expect(rows.map((r) => r.offset)).toEqual([3, 2, 1]);
  expect(keep(rows, Array.from({ length: 500 }, (_, i) => row(10 + i)))).toHaveLength(300);
});
