import { expect, test } from 'vitest';
import { endWords } from '../src/status';

test.each([
  [{ end: 0, closed: false }, '0'],
  [{ end: 12_345, closed: false }, '12,345'],
  [{ end: null, closed: false }, 'no answer'],
  [{ end: null, closed: true }, 'closed'],
  [{ end: null, closed: true, import: 'ended' }, 'imported'],
  [{ end: null, closed: false, import: 'running' }, 'being imported'],
  [{ end: null, closed: false, import: 'stopped' }, 'import stopped'],
])('where a log ends', (p, want) => {
  expect(endWords(p)).toBe(want);
});
