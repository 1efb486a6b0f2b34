// The controls of the Explore page. Each writes the address and nothing else.
import { useRef } from 'preact/hooks';
import { queryString, type Query, type View } from './api';
import { cli, curl, presets, rangeWords } from './model';
import { grains, type Grain } from './time';
import type { State } from './url';
import { CopyButton, Segmented } from './ui';
import { nullLabel } from './series';

interface Props {
  view: View;
  state: State;
  zone: string;
  grain: Grain;
  from: number;
  to: number;
  measures: string[];
  query: Query;
  set: (patch: Partial<State>) => void;
}

export function Toolbar(p: Props) {
  const preset = p.state.to === 'now' ? (presets.find((x) => x.from === p.state.from)?.value ?? null) : null;
  const finest = grains.indexOf(p.view.grain);
  return (
    <div class="toolbar">
      <Segmented
        label="range"
        options={presets}
        value={preset}
        onPick={(v) => p.set({ from: presets.find((x) => x.value === v)?.from ?? 'now-1h', to: 'now', grain: '' })}
      />
      <span class="range">
        {rangeWords(p.from, p.to, p.zone)} <abbr title="time zone of this page">{p.zone}</abbr>
      </span>
      <label class="field">
        by
        <select value={p.state.by.join(',')} onChange={(e) => p.set({ by: e.currentTarget.value ? e.currentTarget.value.split(',') : [] })}>
          <option value="">total</option>
          {p.view.dimensions.map((d) => (
            <option key={d.name} value={d.name}>
              {d.display_name ?? d.name}
            </option>
          ))}
          {p.state.by.length > 1 ? <option value={p.state.by.join(',')}>{p.state.by.join(' × ')}</option> : null}
        </select>
      </label>
      <label class="field">
        grain
        <select value={p.state.grain} onChange={(e) => p.set({ grain: e.currentTarget.value as Grain | '' })}>
          <option value="">auto ({p.grain})</option>
          {grains.slice(finest).map((g) => (
            <option key={g} value={g}>
              {g}
            </option>
          ))}
        </select>
      </label>
      <Measures {...p} />
      <div class="tools">
        <button class="toggle" aria-pressed={p.state.table} onClick={() => p.set({ table: !p.state.table })} title="show as table (v)">
          Table
        </button>
        <Copy query={p.query} />
        <button class="toggle" aria-pressed={p.state.compare !== ''} onClick={() => p.set({ compare: p.state.compare ? '' : 'prev' })} title="compare with the period before (x)">
          Compare
        </button>
        <button class="toggle live" aria-pressed={p.state.live} onClick={() => p.set({ live: !p.state.live })} title="pause or go on (p)">
          {p.state.live ? 'Live' : 'Paused'}
        </button>
      </div>
    </div>
  );
}

function Measures(p: Props) {
  const toggle = (name: string) => {
    const m = p.measures.includes(name) ? p.measures.filter((x) => x !== name) : [...p.measures, name];
    if (m.length > 0) p.set({ m: p.view.measures.map((x) => x.name).filter((x) => m.includes(x)) });
  };
  return (
    <details class="menu">
      <summary>
        {p.measures.length} of {p.view.measures.length} measures
      </summary>
      <div class="menu-body" role="group" aria-label="measures">
        {p.view.measures.map((m) => (
          <label key={m.name} class="check" title={m.description}>
            <input type="checkbox" checked={p.measures.includes(m.name)} onChange={() => toggle(m.name)} />
            {m.display_name ?? m.name}
            <span class="muted">{m.agg}</span>
          </label>
        ))}
      </div>
    </details>
  );
}

function Copy({ query }: { query: Query }) {
  const csv = '/v1/query?' + queryString(query, 'csv');
  const fetchCsv = async () => {
    const r = await fetch(csv);
    if (!r.ok) throw new Error(String(r.status));
    return r.text();
  };
  return (
    <details class="menu at-end">
      <summary>Copy</summary>
      <div class="menu-body">
        <CopyButton label="as curl" text={() => curl(query, location.origin)} />
        <CopyButton label="as CLI command" text={() => cli(query)} />
        <CopyButton label="as CSV" text={fetchCsv} />
        <a class="quiet" href={csv} download={`${query.view}.csv`}>
          download CSV
        </a>
      </div>
    </details>
  );
}

/** the conditions in force, each with a way out */
export function Pills({ state, set }: { state: State; set: (patch: Partial<State>) => void }) {
  if (state.f.length === 0) return null;
  return (
    <div class="pills" role="group" aria-label="filters">
      {state.f.map((x) => (
        <span class="pill" key={`${x.dim}:${x.value}`}>
          <button
            class="quiet"
            title={x.not ? 'show only this' : 'show all but this'}
            onClick={() => set({ f: state.f.map((y) => (y === x ? { ...x, not: !x.not } : y)) })}
          >
            {x.dim} {x.not ? 'is not' : 'is'} <b>{x.value ?? nullLabel}</b>
          </button>
          <button class="quiet" aria-label={`remove the filter on ${x.dim}`} onClick={() => set({ f: state.f.filter((y) => y !== x) })}>
            ✕
          </button>
        </span>
      ))}
      <button class="quiet" onClick={() => set({ f: [] })} title="Esc">
        clear all
      </button>
    </div>
  );
}

/** closes open menus when somebody clicks elsewhere */
export function useMenus() {
  const once = useRef(false);
  if (once.current) return;
  once.current = true;
  document.addEventListener('click', (e) => {
    for (const d of document.querySelectorAll('details.menu[open]')) {
      if (!d.contains(e.target as Node)) d.removeAttribute('open');
    }
  });
}
