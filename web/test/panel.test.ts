import { expect, test } from 'vitest';
import { Problem } from '../src/api';
import { holes, lag, panelState, type Facts } from '../src/panel';

const at = Date.parse('2026-11-24T14:32:07Z');
const facts = (patch: Partial<Facts>): Facts => ({
  loaded: true,
  problem: null,
  meta: { complete_to: '2026-11-24T14:32:05.800Z', coverage: [{ from: 'a', to: 'b', source: 'live' }] },
  rows: 3,
  allZero: false,
  live: true,
  lost: false,
  at,
  ...patch,
});
const problem = new Problem(503, 'ledger_away', 'The ledger does not answer.');

test.each<[string, Partial<Facts>]>([
  ['loading', { loaded: false }],
  ['error', { loaded: false, problem }],
  ['stale', { problem }],
  ['stale', { meta: { complete_to: '2026-11-24T14:00:00Z' } }],
  ['never', { rows: 0, meta: { complete_to: null, earliest: null } }],
  ['never', { rows: 60, meta: { complete_to: '2026-11-22T14:00:00Z', earliest: null } }], // gaps, and a zero of the minute that runs
  ['empty', { rows: 0 }],
  ['zero', { allZero: true }],
  ['partial', { meta: { complete_to: '2026-11-24T14:32:05Z', coverage: [{ from: 'a', to: 'b', source: 'missing' }] } }],
  ['disconnected', { lost: true }],
  ['ok', {}],
  ['ok', { live: false, lost: true }],
])('%s: %j', (want, patch) => expect(panelState(facts(patch))).toBe(want));

test('lag is measured by the server alone', () => {
  expect(lag(facts({}).meta, at)).toBe(1200);
  expect(lag({ complete_to: null }, at)).toBeNull();
});

test('holes are told with their reason', () => {
  expect(holes([{ from: 'a', to: 'b', source: 'live' }])).toBe('');
  expect(holes([{ from: 'a', to: 'b', source: 'missing', reason: 'before the first event' }])).toBe('One part of the range is missing: before the first event.');
  expect(holes([{ from: 'a', to: 'b', source: 'backfilling' }, { from: 'c', to: 'd', source: 'missing' }])).toMatch(/^2 parts of the range are still being filled in/);
});
