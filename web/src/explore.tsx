// Explore: big numbers and lines left, boards right, everything from one view and one address.
import { useMemo, useRef, useState } from 'preact/hooks';
import { queryString, type Answer, type Measure, type View } from './api';
import { slots as slotCount, Slots } from './color';
import { useAnswer, useKeys, useTheme } from './hooks';
import { Leaderboard } from './leaderboard';
import { useLive } from './live';
import { additive, ask, shifted } from './model';
import { Panel, type Before } from './panel-view';
import { go } from './router';
import { frame, nullLabel, rowKey, type Frame } from './series';
import { Table } from './table';
import { resolve } from './time';
import { Pills, Toolbar } from './toolbar';
import { Notices } from './ui';
import { format, parse, toggleFilter, type State } from './url';

/** colours are kept for as long as the tab lives */
const memory = new Slots();

export function Explore({ view, search }: { view: View; search: string }) {
  const names = useMemo(
    () => ({ measures: view.measures.map((m) => m.name), dimensions: view.dimensions.map((d) => d.name), grain: view.grain }),
    [view],
  );
  const { state, notices } = useMemo(() => parse(search, names), [search, names]);
  const live = useLive();
  const theme = useTheme();
  const [find, setFind] = useState('');
  const findBox = useRef<HTMLInputElement>(null);
  const now = useRef(Date.now());
  const [held, hold] = useState(false); // somebody reads a chart: all of them stand still

  const tick = state.live ? (live.ticks[view.stream]?.n ?? 0) : -1;
  const asked = ask(view, state, now.current);
  const totals = useAnswer<Answer>('/v1/query?' + queryString(asked.totals), tick);
  const linesPath = '/v1/query?' + queryString(asked.series);
  const lines = useAnswer<Answer>(linesPath, tick);
  // What is drawn belongs to the answer that is there, not to the one that is on its way.
  const shownRef = useRef({ by: state.by, grain: asked.grain, zone: asked.zone });
  if (lines.path === linesPath) shownRef.current = { by: state.by, grain: asked.grain, zone: asked.zone };
  const shown = shownRef.current;
  const split = state.by[0];
  const beforePath = asked.before ? '/v1/query?' + queryString(asked.before.series) : '';
  const linesBefore = useAnswer<Answer>(state.by.length === 0 ? beforePath : '', tick, 1000);
  const totalsBefore = useAnswer<Answer>(asked.before ? '/v1/query?' + queryString(asked.before.totals) : '', tick, 1000);
  if (lines.data) now.current = lines.data.at;

  const set = (patch: Partial<State>) => {
    const to = { ...state, ...patch };
    if (patch.to !== undefined && patch.live === undefined) to.live = patch.to === 'now';
    go(location.pathname + format(to));
  };
  useKeys({
    '/': () => findBox.current?.focus(),
    d: () => set({ from: 'now-24h', to: 'now', grain: '' }),
    w: () => set({ from: 'now-7d', to: 'now', grain: '' }),
    m: () => set({ from: 'now-30d', to: 'now', grain: '' }),
    ArrowLeft: () => set(shifted(state, asked.zone, now.current, -1)),
    ArrowRight: () => set(shifted(state, asked.zone, now.current, 1)),
    v: () => set({ table: !state.table }),
    p: () => set({ live: !state.live }),
    x: () => set({ compare: state.compare ? '' : 'prev' }),
    Escape: () => {
      if (document.activeElement instanceof HTMLElement && document.activeElement !== document.body) document.activeElement.blur();
      if (find !== '') setFind('');
      else if (state.f.length > 0) set({ f: [] });
    },
  });

  const measures = asked.measures.map((n) => view.measures.find((m) => m.name === n)).filter((m): m is Measure => m !== undefined);
  const first = measures[0];
  const totalFrame = useMemo(() => (totals.data ? frame(totals.data.body, [], asked.measures) : null), [totals.data]);
  const lineFrame = useMemo(() => (lines.data ? frame(lines.data.body, shown.by, asked.measures) : null), [lines.data]);
  const top = useTop(lineFrame, shown.by, first);
  const slots = shown.by.length > 0 ? memory.assign(`${view.name}/${shown.by.join('/')}`, top) : [0];
  const beforeFrame = useMemo(() => (linesBefore.data ? frame(linesBefore.data.body, [], asked.measures) : null), [linesBefore.data]);
  const beforeTotals = useMemo(() => (totalsBefore.data ? frame(totalsBefore.data.body, [], asked.measures) : null), [totalsBefore.data]);
  const meta = lines.data?.body.meta;
  const range = {
    from: meta?.from ? Date.parse(meta.from) : resolve(state.from, now.current, asked.zone), // the server widens to whole points
    to: meta?.to ? Date.parse(meta.to) : resolve(state.to, now.current, asked.zone),
  };

  return (
    <main class="explore">
      <div class="title">
        <h1>{view.display_name ?? view.name}</h1>
        <p class="muted">
          {view.description}
          {view.owner ? ` · ${view.owner}` : ''} · version <code>{view.version.slice(0, 8)}</code>
        </p>
      </div>
      <Notices list={notices} />
      <Toolbar view={view} state={state} zone={asked.zone} grain={asked.grain} from={range.from} to={range.to} measures={asked.measures} query={asked.series} set={set} />
      <Pills state={state} set={set} />
      <div class="columns">
        <div class="left">
          {state.table && lineFrame ? (
            <Table frame={lineFrame} by={shown.by} measures={measures} grain={shown.grain} tz={shown.zone} />
          ) : (
            measures.map((m) => (
              <Panel
                key={m.name}
                measure={m}
                before={asked.before ? before(beforeFrame, beforeTotals, m.name) : null}
                live={state.live}
                total={totalFrame?.measures.get(m.name)?.[0] ?? null}
                totalOf={totals.data}
                lines={lineFrame}
                linesOf={lines.data}
                problem={lines.problem ?? totals.problem}
                top={top}
                slots={slots}
                theme={theme}
                range={range}
                by={shown.by}
                grain={shown.grain}
                zone={shown.zone}
                tall={measures.length <= 2}
                held={held}
                onHold={hold}
                onZoom={(from, to) => set({ from, to })}
              />
            ))
          )}
        </div>
        <div class="right">
          <input
            ref={findBox}
            class="find"
            type="search"
            placeholder="Find a value  /"
            aria-label="find a value in the boards"
            value={find}
            onInput={(e) => setFind(e.currentTarget.value)}
          />
          {first
            ? view.dimensions.map((d) => (
                <Leaderboard
                  key={d.name}
                  view={view}
                  state={state}
                  dimension={d}
                  measure={first}
                  zone={asked.zone}
                  tick={tick}
                  search={find}
                  total={additive(first.agg) && !state.f.some((x) => x.dim === d.name) && !d.unnest ? (totalFrame?.measures.get(first.name)?.[0] ?? null) : null}
                  color={split === d.name && state.by.length === 1 && shown.by[0] === split ? (v) => slots[top.indexOf(v ?? nullLabel)] ?? -1 : null}
                  theme={theme}
                  onFilter={(value, not) => set({ f: toggleFilter(state.f, d.name, value, not) })}
                />
              ))
            : null}
        </div>
      </div>
    </main>
  );
}

/** what a panel is compared with */
export function before(lines: Frame | null, totals: Frame | null, measure: string): Before {
  const at = (text: string | undefined) => (text ? Date.parse(text) : 0);
  return { lines, total: totals?.measures.get(measure)?.[0] ?? null, range: { from: at(lines?.meta.from), to: at(lines?.meta.to) } };
}

/** the values that get a line, largest first; the server has merged the rest */
export function useTop(f: Frame | null, by: string[], first: Measure | undefined): string[] {
  return useMemo(() => {
    if (by.length === 0 || !f || !first) return [];
    const other = f.meta.other ? by.map(() => f.meta.other?.label).join(' · ') : null;
    const sums = new Map<string, number>();
    const v = f.measures.get(first.name) ?? [];
    for (let i = 0; i < f.n; i++) {
      const key = rowKey(f, by, i);
      if (key !== other) sums.set(key, (sums.get(key) ?? 0) + (v[i] ?? 0));
    }
    return [...sums].sort((a, b) => b[1] - a[1]).slice(0, slotCount).map(([k]) => k);
  }, [f, by.join(), first?.name]);
}
