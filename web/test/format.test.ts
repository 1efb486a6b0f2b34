import { expect, test } from 'vitest';
import { bytes, duration, exact, rate, short } from '../src/format';

test.each([
  [0, undefined, '0'],
  [999, undefined, '999'],
  [1234, undefined, '1,234'],
  [12_345, undefined, '12.3K'],
  [1_900_000_000, undefined, '1.9B'],
  [0.256, 'percent', '25.6%'],
  [0, 'percent', '0.0%'],
  [0.01234, undefined, '0.0123'],
  [1536, 'bytes', '1.5 KiB'],
  [1200, 'duration_ms', '1.2 s'],
  [-5_000_000, undefined, '-5M'],
] as const)('short(%d, %s) = %s', (v, f, want) => expect(short(v, f)).toBe(want));

test('no value is never a zero', () => {
  for (const v of [null, undefined, NaN, Infinity]) {
    expect(short(v)).toBe('–');
    expect(exact(v)).toBe('–');
  }
});

test('exact keeps every digit of a whole number, and of a sum that came as text', () => {
  expect(exact(1_234_567)).toBe('1,234,567');
  expect(exact('170141183460469231731687303715884105727')).toBe('170141183460469231731687303715884105727');
  expect(exact(0.12345, 'percent')).toBe('12.35%');
});

test.each([
  [250, '250 ms'],
  [1200, '1.2 s'],
  [59_900, '59 s'],
  [245_000, '4 min 5 s'],
  [7_800_000, '2 h 10 min'],
  [3_600_000, '1 h'],
  [273_600_000, '3 d 4 h'],
])('duration(%d) = %s', (ms, want) => expect(duration(ms)).toBe(want));

test('bytes and rates', () => {
  expect(bytes(0)).toBe('0 B');
  expect(bytes(5 * 1024 ** 4)).toBe('5 TiB');
  // as internal/human does
  for (const [n, want] of [[1023, '1,023 B'], [1536, '1.5 KiB'], [1023.4 * 1024, '1,023 KiB'], [1023.6 * 1024, '1 MiB'], [38.24 * 1024 ** 3, '38.2 GiB'], [-12_345_678, '-11.8 MiB']] as const) expect(bytes(n)).toBe(want);
  expect(rate(0)).toBe('0/s');
  expect(rate(0.25)).toBe('0.3/s');
  expect(rate(12_345)).toBe('12.3K/s');
  expect(rate(null)).toBe('–');
});
