import { expect, test } from 'vitest';
import type { View } from '../src/api';
import { ask, board, cli, curl, rangeWords, shifted } from '../src/model';
import { defaults, type State } from '../src/url';

const view: View = {
  name: 'pins', stream: 'pin', time_zone: 'UTC', grain: 'minute', version: '8f3c21d0', state: 'serving',
  dimensions: [{ name: 'category' }, { name: 'country' }],
  measures: [{ name: 'posted', agg: 'count' }, { name: 'video_share', agg: 'ratio' }],
};
const now = Date.parse('2026-11-24T14:32:00Z');
const state = (patch: Partial<State>): State => ({ ...structuredClone(defaults), ...patch }) as State;

test('series ask by dimension and grain, totals by neither', () => {
  const a = ask(view, state({ by: ['category'], f: [{ dim: 'country', value: "O'Land", not: false }] }), now);
  expect(a.series).toMatchObject({ view: 'pins', by: ['category'], grain: 'minute', f: "country:O'Land", from: 'now-1h', to: 'now', order: '-posted', limit: 5 });
  expect(a.totals.by).toBeUndefined();
  expect(a.totals.grain).toBeUndefined();
});

test('a board leaves out the conditions on its own dimension', () => {
  const s = state({ f: [{ dim: 'category', value: 'a', not: false }, { dim: 'country', value: 'gb', not: true }] });
  expect(board(view, s, 'category', ['posted'], 'UTC')).toMatchObject({ by: ['category'], f: 'country:!gb', order: '-posted' });
});

test('curl and CLI lines survive a shell', () => {
  const { series } = ask(view, state({ f: [{ dim: 'country', value: "O'Land", not: false }] }), now);
  expect(curl(series, 'http://h:1')).toBe("curl -s 'http://h:1/v1/query?view=pins&measures=posted,video_share&f=country:O%27Land&from=now-1h&to=now&grain=minute&tz=UTC'");
  expect(cli(series)).toBe("pinflow query pins -m posted,video_share -f 'country:O'\\''Land' --from now-1h --to now --grain minute");
});

test('shifting moves by the length of the range', () => {
  expect(shifted(state({}), 'UTC', now, -1)).toEqual({ from: '2026-11-24T12:32:00Z', to: '2026-11-24T13:32:00Z' });
});

test('ranges in words', () => {
  expect(rangeWords(now - 3_600_000, now, 'UTC')).toBe('2026-11-24 13:32 – 14:32');
  expect(rangeWords(Date.parse('2026-11-17T00:00Z'), Date.parse('2026-11-24T00:00Z'), 'UTC')).toBe('2026-11-17 – 2026-11-23');
});
