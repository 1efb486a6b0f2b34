import { describe, expect, test } from 'vitest';
import { autoGrain, bucketLabel, buckets, clock, floor, next, resolve, type Grain } from '../src/time';

const at = (s: string) => Date.parse(s);
const now = at('2026-11-24T14:32:07Z'); // a Tuesday

describe('expressions', () => {
  test.each([
    ['now', '2026-11-24T14:32:07Z'],
    ['now-1h', '2026-11-24T13:32:07Z'],
    ['now-7d/d', '2026-11-17T00:00:00Z'],
    ['now/d', '2026-11-24T00:00:00Z'],
    ['now/w', '2026-11-23T00:00:00Z'],
    ['now-1M/M', '2026-10-01T00:00:00Z'],
    ['now/y', '2026-01-01T00:00:00Z'],
    ['now-1d+2h', '2026-11-23T16:32:07Z'],
    ['2026-11-22', '2026-11-22T00:00:00Z'],
    ['2026-11-22T10:30:00Z', '2026-11-22T10:30:00Z'],
    ['2026-11-22T10:30:00+02:00', '2026-11-22T08:30:00Z'],
  ])('%s', (text, want) => expect(new Date(resolve(text, now, 'UTC')).toISOString()).toBe(new Date(want).toISOString()));

  test.each(['', 'then', 'now-7', 'now/q', 'now-7d/d/d', '2026-11', '2026-02-40', '22.11.2026', 'now-9999999999d'])('%j is none', (text) =>
    expect(resolve(text, now, 'UTC')).toBeNaN());

  test('days are those of the zone', () => {
    expect(resolve('now/d', now, 'Asia/Tokyo')).toBe(at('2026-11-23T15:00:00Z'));
    expect(resolve('2026-07-01', now, 'Europe/London')).toBe(at('2026-06-30T23:00:00Z'));
  });
});

describe('buckets', () => {
  test('a day of a clock change has 23 or 25 hours, each its own bucket', () => {
    const zone = 'Europe/London';
    const hours = (d: string) => {
      const a = resolve(d, now, zone);
      return buckets(a, next(a, 'day', zone), 'hour', zone).length;
    };
    expect(hours('2026-03-29')).toBe(23);
    expect(hours('2026-10-25')).toBe(25);
    expect(hours('2026-10-26')).toBe(24);
  });

  test.each<Grain>(['minute', 'hour', 'day', 'week', 'month'])('%s buckets follow each other without gap', (grain) => {
    for (const zone of ['UTC', 'Europe/London', 'America/New_York', 'Asia/Kolkata']) {
      let t = floor(at('2026-03-07T05:00:00Z'), grain, zone);
      for (let i = 0; i < 60; i++) {
        const n = next(t, grain, zone);
        expect(n).toBeGreaterThan(t);
        expect(floor(n - 1000, grain, zone)).toBe(t);
        expect(floor(n, grain, zone)).toBe(n);
        t = n;
      }
    }
  });

  test('only starts inside the range count', () => {
    expect(buckets(at('2026-11-24T13:32:07Z'), at('2026-11-24T13:35:00Z'), 'minute', 'UTC').map((t) => clock(t, 'UTC', false))).toEqual(['13:33', '13:34']);
  });

  test('the number is bounded', () => expect(buckets(0, now, 'minute', 'UTC')).toHaveLength(6000));
});

test('grain follows the length of the range, never finer than the view', () => {
  const h = 3_600_000;
  expect(autoGrain(h, 'minute')).toBe('minute');
  expect(autoGrain(7 * 24 * h, 'minute')).toBe('hour');
  expect(autoGrain(90 * 24 * h, 'minute')).toBe('day');
  expect(autoGrain(h, 'day')).toBe('day');
});

test('labels name the bucket', () => {
  expect(bucketLabel(at('2026-11-24T14:32:00Z'), 'minute', 'UTC')).toBe('2026-11-24 14:32');
  expect(bucketLabel(at('2026-11-23T00:00:00Z'), 'week', 'UTC')).toBe('week of 2026-11-23');
  expect(bucketLabel(at('2026-11-01T00:00:00Z'), 'month', 'UTC')).toBe('2026-11');
});
