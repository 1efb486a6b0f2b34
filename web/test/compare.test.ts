import { describe, expect, test } from 'vitest';
import type { Answer, View } from '../src/api';
import { lines } from '../src/diff';
import { ask, change } from '../src/model';
import { frame, previousKey, series, stacked, withPrevious } from '../src/series';
import { lastDays, previous, resolve } from '../src/time';
import { defaults, format, parse, type State } from '../src/url';

const now = Date.parse('2026-11-25T14:32:07Z');

describe('the period before', () => {
  test.each([
    ['now-15m', 'now', 'now-15m-900s', 'now-900s'],
    ['now-7d/d', 'now', 'now-7d-8d/d', 'now-8d'],
    ['now/d', 'now', 'now-1d/d', 'now-1d'],
    ['now-1M/M', 'now/M', 'now-1M-1M/M', 'now-1M/M'],
    ['2026-11-10', '2026-11-17', '2026-11-03T00:00:00Z', '2026-11-10T00:00:00Z'],
    ['2026-11-24T10:00:00Z', '2026-11-24T12:00:00Z', '2026-11-24T08:00:00Z', '2026-11-24T10:00:00Z'],
  ])('%s … %s', (from, to, a, b) => {
    const p = previous(from, to, now, 'UTC');
    expect(p).toEqual({ from: a, to: b });
    if (!from.includes('M')) expect(resolve(p.to, now, 'UTC') - resolve(p.from, now, 'UTC')).toBe(resolve(to, now, 'UTC') - resolve(from, now, 'UTC'));
  });
  test('days are those of the wall clock', () => {
    // 2026-10-25 has 25 hours in Berlin
    expect(previous('2026-10-25', '2026-10-27', now, 'Europe/Berlin')).toEqual({ from: '2026-10-22T22:00:00Z', to: '2026-10-24T22:00:00Z' });
  });
  test('is asked for when the address says so', () => {
    const view: View = { name: 'pins', stream: 'pin', time_zone: 'UTC', grain: 'minute', version: '1', state: 'serving', dimensions: [], measures: [{ name: 'posted', agg: 'count' }] };
    const { state, notices } = parse('?compare=prev&from=now-6h');
    expect(notices).toEqual([]);
    expect(ask(view, state, now).before?.series).toMatchObject({ from: 'now-6h-21600s', to: 'now-21600s', grain: 'minute' });
    expect(ask(view, { ...(structuredClone(defaults) as State) }, now).before).toBeNull();
    expect(format(state)).toBe('?from=now-6h&compare=prev');
    expect(parse('?compare=yesterday').notices).toHaveLength(1);
  });
});

test('changes in words', () => {
  expect(change(112, 100)).toBe('+12%');
  expect(change(96.6, 100)).toBe('−3.4%');
  expect(change(520, 100)).toBe('×5.2');
  expect(change(5, 5)).toBe('±0%');
  expect(change(5, 0)).toBe('');
  expect(change(null, 5)).toBe('');
});

const answer = (rows: unknown[][], dims: string[] = []): Answer => ({
  columns: ['time', ...dims, 'n'],
  rows,
  points: { state: rows.map((_, i) => (i === rows.length - 1 ? 'incomplete' : 'complete')) },
  meta: { complete_to: '2026-11-25T14:00:00Z', coverage: [{ from: '2026-11-20T00:00:00Z', to: '2026-11-26T00:00:00Z', source: 'live' }] },
});
const hour = (h: number, d = 25) => `2026-11-${d}T${String(h).padStart(2, '0')}:00:00Z`;
const shape = { measure: 'n', by: [] as string[], top: [] as string[], other: '', additive: true, from: Date.parse(hour(10)), to: Date.parse(hour(13)), grain: 'hour' as const, tz: 'UTC' };

test('the period before is a line of its own, point by point', () => {
  const s = series(frame(answer([[hour(10), 3], [hour(11), 4], [hour(12), 5]]), [], ['n']), shape);
  const earlier = frame(answer([[hour(10, 24), 7], [hour(12, 24), 9]]), [], ['n']);
  const both = withPrevious(s, earlier, 'n', { additive: true, from: Date.parse(hour(10, 24)), to: Date.parse(hour(13, 24)), grain: 'hour', tz: 'UTC' });
  expect(both.lines.map((l) => l.key)).toEqual(['', previousKey]);
  expect(both.lines[1]?.values).toEqual([7, 0, 9]);
  expect(s.lines).toHaveLength(1);
});

test('bars stand on top of each other, the sum is drawn first', () => {
  const a = answer([[hour(10), 'x', 3], [hour(11), 'x', 4], [hour(10), 'y', 1], [hour(11), 'y', 2], [hour(12), 'y', 6]], ['k']);
  const s = stacked(series(frame(a, ['k'], ['n']), { ...shape, by: ['k'], top: ['x', 'y'] }));
  expect(s.lines.map((l) => l.key)).toEqual(['y', 'x']);
  expect(s.lines[0]?.solid).toEqual([4, 6, null]);
  expect(s.lines[0]?.tail).toEqual([null, null, 6]);
  expect(s.lines[1]?.solid).toEqual([3, 4, null]);
  expect(s.lines[0]?.values).toEqual([1, 2, 6]); // what the tooltip tells
});

test('a difference shows what changed and a little around it', () => {
  const a = ['1', '2', '3', '4', '5', '6', '7', '8'].join('\n');
  const b = ['1', '2', '3', '4', 'five', '6', '7', '8'].join('\n');
  expect(lines(a, b).map((l) => l.mark + l.text)).toEqual([' …', ' 3', ' 4', '-5', '+five', ' 6', ' 7', ' …']);
  expect(lines('x', 'x').every((l) => l.mark === ' ')).toBe(true);
  expect(lines('', 'x').map((l) => l.mark)).toEqual(['-', '+']);
});

test('the last days end today', () => {
  expect(lastDays(now, 3)).toEqual(['2026-11-23', '2026-11-24', '2026-11-25']);
});
