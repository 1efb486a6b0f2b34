// The values of one dimension, largest first. A click filters by a value, a second click takes it away.
import { useMemo, useState } from 'preact/hooks';
import { queryString, type Answer, type Dimension, type Measure, type View } from './api';
import { colorOf, Swatch } from './chart';
import type { Theme } from './color';
import { short } from './format';
import { useAnswer } from './hooks';
import { board } from './model';
import { frame, nullLabel } from './series';
import { lost } from './sse';
import type { State } from './url';
import { Instead } from './ui';
import { panelState } from './panel';
import { useLive } from './live';

interface Props {
  view: View;
  state: State;
  dimension: Dimension;
  measure: Measure;
  zone: string;
  tick: number;
  search: string;
  total: number | null; // of the measure over everything, for shares
  color: ((value: string | null) => number | null) | null; // slot of a value, when lines are split by this dimension
  theme: Theme;
  onFilter: (value: string | null, not: boolean) => void;
}

const few = 8;

/** ranks move slowly; a page has many boards */
const refreshEvery = 1000;

export function Leaderboard(p: Props) {
  const [all, showAll] = useState(false);
  const path = '/v1/query?' + queryString(board(p.view, p.state, p.dimension.name, [p.measure.name], p.zone));
  const { data, problem } = useAnswer<Answer>(path, p.tick, refreshEvery);
  const { machine } = useLive();
  const rows = useMemo(() => {
    if (!data) return [];
    const f = frame(data.body, [p.dimension.name], [p.measure.name]);
    const values = f.dims.get(p.dimension.name) ?? [];
    const numbers = f.measures.get(p.measure.name) ?? [];
    return values.map((value, i) => ({ value, n: numbers[i] ?? null }));
  }, [data, p.dimension.name, p.measure.name]);

  const wanted = p.search.toLowerCase();
  const found = wanted === '' ? rows : rows.filter((r) => (r.value ?? nullLabel).toLowerCase().includes(wanted));
  const shown = all || wanted !== '' ? found : found.slice(0, few);
  const max = Math.max(0, ...rows.map((r) => r.n ?? 0));
  const picked = (v: string | null) => p.state.f.find((x) => x.dim === p.dimension.name && x.value === v);
  const filtered = p.state.f.some((x) => x.dim === p.dimension.name && !x.not);
  const state = panelState({
    loaded: data !== null,
    problem,
    meta: data?.body.meta ?? null,
    rows: rows.length,
    allZero: false,
    live: p.state.live,
    lost: lost(machine),
    at: data?.at ?? 0,
  });

  return (
    <section class="card board" aria-label={`${p.dimension.display_name ?? p.dimension.name} by ${p.measure.name}`}>
      <header>
        <h3>{p.dimension.display_name ?? p.dimension.name}</h3>
        <span class="muted">{p.measure.display_name ?? p.measure.name}</span>
      </header>
      <Instead state={state} problem={problem} />
      <ol>
        {shown.map((r) => {
          const on = picked(r.value);
          const slot = p.color?.(r.value) ?? null;
          const dim = filtered && !on ? ' faint' : '';
          return (
            <li key={r.value ?? '\u0000'}>
              <button
                class={`bar${dim}${on?.not ? ' struck' : ''}`}
                aria-pressed={on !== undefined}
                title={on ? 'take the filter away' : 'show only this; with Alt: all but this'}
                onClick={(e) => p.onFilter(r.value, e.altKey)}
              >
                <svg class="bar-fill" preserveAspectRatio="none" viewBox="0 0 100 1" aria-hidden="true">
                  <rect width={max > 0 ? (100 * Math.max(0, r.n ?? 0)) / max : 0} height="1" />
                </svg>
                <span class="bar-key">{slot === null ? null : <Swatch color={colorOf(p.theme, slot)} slot={slot} />}</span>
                <span class={r.value === null ? 'bar-label muted' : 'bar-label'}>{r.value ?? nullLabel}</span>
                <span class="bar-value">{short(r.n, p.measure.format)}</span>
                <span class="bar-share">{p.total && r.n !== null ? `${Math.round((100 * r.n) / p.total)}%` : ''}</span>
              </button>
            </li>
          );
        })}
      </ol>
      {wanted !== '' && data && found.length === 0 ? <p class="muted pad">No value contains “{p.search}”.</p> : null}
      {wanted === '' && found.length > few ? (
        <button class="quiet more" onClick={() => showAll(!all)}>
          {all ? 'Fewer' : `${found.length === 100 ? 'First 100' : `All ${found.length}`}`}
        </button>
      ) : null}
    </section>
  );
}
