// @vitest-environment happy-dom
// A panel shows exactly one of eight states, and no two look alike.
import { render } from 'preact';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { Problem, type Answer, type Coverage } from '../src/api';
import { light } from '../src/color';
import { LiveContext } from '../src/live';
import { Panel, type PanelProps } from '../src/panel-view';
import { frame } from '../src/series';
import { initial, type Phase } from '../src/sse';

vi.mock('../src/chart', () => ({ Chart: () => <figure data-chart />, Swatch: () => null, colorOf: () => '' }));

const at = Date.parse('2026-11-24T14:32:07Z');
const t = (m: number) => `2026-11-24T14:${String(m).padStart(2, '0')}:00Z`;

interface Case {
  rows?: unknown[][] | null; // null: no answer yet
  completeTo?: string | null;
  earliest?: string | null;
  coverage?: Coverage[];
  problem?: Problem;
  phase?: Phase;
}

function show(c: Case): HTMLElement {
  const rows = c.rows === undefined ? [[t(29), 5], [t(30), 7]] : c.rows;
  const body: Answer | null = rows && {
    columns: ['time', 'posted'],
    rows,
    points: { state: rows.map(() => 'complete') },
    meta: {
      complete_to: c.completeTo === undefined ? '2026-11-24T14:32:05.800Z' : c.completeTo,
      earliest: c.earliest === undefined ? t(0) : c.earliest,
      coverage: c.coverage ?? [],
    },
  };
  const props: PanelProps = {
    measure: { name: 'posted', display_name: 'Posted', agg: 'count', unit: 'pins' },
    live: true,
    total: body && body.rows.length > 0 ? body.rows.reduce((n, r) => n + Number(r[1]), 0) : null,
    totalOf: null,
    lines: body && frame(body, [], ['posted']),
    linesOf: body && { body, at, etag: null },
    problem: c.problem ?? null,
    by: [],
    top: [],
    slots: [0],
    theme: light,
    range: { from: Date.parse(t(28)), to: Date.parse(t(32)) },
    grain: 'minute',
    zone: 'UTC',
    tall: true,
    held: false,
    onHold: () => undefined,
    onZoom: () => undefined,
  };
  const root = document.createElement('div');
  document.body.append(root);
  const live = { machine: { ...initial, phase: c.phase ?? ('open' as Phase) }, ticks: {}, status: 0 };
  render(
    <LiveContext.Provider value={live}>
      <Panel {...props} />
    </LiveContext.Provider>,
    root,
  );
  return root;
}

afterEach(() => document.body.replaceChildren());

const away = new Problem(503, 'ledger_away', 'The ledger does not answer.', '01JD');
const hole: Coverage = { from: t(28), to: t(29), source: 'missing', reason: 'before this version of the view' };

const cases: Record<string, { given: Case; says: RegExp; number: string; chart: boolean }> = {
  loading: { given: { rows: null }, says: /Loading/, number: '–', chart: false },
  error: { given: { rows: null, problem: away }, says: /The ledger does not answer\..*503 ledger_away · request 01JD/, number: '–', chart: false },
  empty: { given: { rows: [] }, says: /No events match/, number: '–', chart: false },
  never: { given: { rows: [[t(29), 0]], completeTo: null, earliest: null }, says: /No event of this stream has ever arrived/, number: '–', chart: false },
  zero: { given: { rows: [[t(29), 0], [t(30), 0]] }, says: /Zero: events were looked at/, number: '0', chart: true },
  partial: { given: { coverage: [hole] }, says: /missing: before this version of the view/, number: '12', chart: true },
  stale: { given: { problem: away }, says: /does not answer\. The numbers are those of 14:32:07 UTC/, number: '12', chart: true },
  disconnected: { given: { phase: 'waiting' }, says: /The connection is lost.*those of 14:32:07 UTC/, number: '12', chart: true },
};

describe('a panel', () => {
  test.each(Object.entries(cases))('is %s', (state, c) => {
    const root = show(c.given);
    expect(root.querySelector('section')?.dataset['state']).toBe(state);
    expect(root.textContent).toMatch(c.says);
    expect(root.querySelector('output')?.textContent?.trim()).toBe(c.number);
    expect(root.querySelector('[data-chart]') !== null).toBe(c.chart);
  });

  test('that has numbers says as of when they are and how far they are complete', () => {
    expect(show({}).querySelector('.chip')?.textContent).toBe('as of 14:32:07 UTC · complete to 14:32:05 · lag 1.2 s');
    expect(show({ completeTo: null }).querySelector('.chip')?.textContent).toMatch(/nothing complete yet/);
    expect(show({ completeTo: '2026-11-23T22:10:00Z' }).querySelector('.chip')?.textContent).toMatch(/complete to 2026-11-23 22:10 · lag 16 h 22 min/);
  });

  test('no two states say the same', () => {
    const said = Object.values(cases).map((c) => show(c.given).textContent);
    expect(new Set(said).size).toBe(said.length);
  });
});
