// Dashboards: panels from YAML. The address moves all of them in time; each panel leads to Explore.
import { useMemo, useRef, useState } from 'preact/hooks';
import { queryString, type Answer, type Measure, type Query, type View } from './api';
import { slots as slotCount, Slots } from './color';
import { before, useTop } from './explore';
import { short } from './format';
import { useAnswer, useKeys, useTheme } from './hooks';
import { useLive } from './live';
import { additive, presets, rangeWords } from './model';
import { Panel } from './panel-view';
import { go } from './router';
import { frame, nullLabel, type Frame } from './series';
import { autoGrain, grains, previous, resolve, type Grain } from './time';
import { Chip, Instead, Notices, Segmented } from './ui';
import { defaults, format, parse, type State } from './url';
import { panelState } from './panel';
import { lost } from './sse';

export interface DashPanel {
  measure: string; // VIEW.MEASURE
  title?: string;
  by?: string;
  chart: 'line' | 'bar' | 'number' | 'table';
  top?: number;
  compare?: 'prev';
  grain?: string;
  from?: string;
  to?: string;
}

export interface Dashboard {
  name: string;
  display_name?: string;
  description?: string;
  defaults: { from: string; to: string; grain?: string };
  rows?: { panels: DashPanel[] }[];
}

const memory = new Slots();

export function DashboardPage({ name, views, search }: { name: string; views: View[]; search: string }) {
  const { data, problem } = useAnswer<Dashboard>(`/v1/dashboards/${encodeURIComponent(name)}`, 0);
  if (!data) return <main><Instead state={problem ? 'error' : 'loading'} problem={problem} /></main>;
  return <Shown dash={data.body} views={views} search={search} />;
}

function Shown({ dash, views, search }: { dash: Dashboard; views: View[]; search: string }) {
  const { state, notices } = useMemo(() => parse(search), [search]);
  const asked = new URLSearchParams(search);
  const from = asked.has('from') ? state.from : dash.defaults.from;
  const to = asked.has('to') || asked.has('from') ? state.to : dash.defaults.to;
  const now = useRef(Date.now());
  const zone = state.tz || 'UTC';
  const [held, hold] = useState(false);
  const moved = asked.has('from');
  const preset = moved && to === 'now' ? (presets.find((x) => x.from === from)?.value ?? null) : null;
  const set = (patch: Partial<State>) => go(location.pathname + address({ ...state, from, to, ...patch }));
  useKeys({
    d: () => set({ from: 'now-24h', to: 'now' }),
    w: () => set({ from: 'now-7d', to: 'now' }),
    m: () => set({ from: 'now-30d', to: 'now' }),
    p: () => set({ live: !state.live }),
    Escape: () => go(location.pathname),
  });
  return (
    <main class="explore">
      <div class="title">
        <h1>{dash.display_name ?? dash.name}</h1>
        <p class="muted">{dash.description}</p>
      </div>
      <Notices list={[...notices, ...['m', 'by', 'f', 'compare', 'table'].filter((k) => asked.has(k)).map((k) => `${k}= is not for dashboards: their panels say it themselves.`)]} />
      <div class="toolbar">
        <Segmented label="range" options={presets} value={preset} onPick={(v) => set({ from: presets.find((x) => x.value === v)?.from ?? 'now-24h', to: 'now' })} />
        <span class="range">
          {rangeWords(resolve(from, now.current, zone), resolve(to, now.current, zone), zone)} <abbr title="time zone of this page">{zone}</abbr>
        </span>
        {moved ? (
          <button class="quiet" onClick={() => go(location.pathname)} title="Esc">
            as the dashboard says
          </button>
        ) : null}
        <div class="tools">
          <button class="toggle live" aria-pressed={state.live} onClick={() => set({ live: !state.live })} title="pause or go on (p)">
            {state.live ? 'Live' : 'Paused'}
          </button>
        </div>
      </div>
      {(dash.rows ?? []).map((row, i) => (
        <div class="dash-row" key={i}>
          {row.panels.map((p, k) => (
            <OnePanel key={k} p={p} views={views} from={moved ? from : (p.from ?? from)} to={moved ? to : (p.to ?? to)} grain={state.grain || (p.grain ?? dash.defaults.grain ?? '')} tz={state.tz} live={state.live} held={held} hold={hold} zoom={(a, b) => set({ from: a, to: b })} />
          ))}
        </div>
      ))}
      {(dash.rows ?? []).length === 0 ? <p class="muted">This dashboard has no panels.</p> : null}
    </main>
  );
}

/** unlike Explore's, a dashboard's address always says its range once it was moved */
function address(s: State): string {
  const rest = format({ ...s, from: defaults.from, to: defaults.to }).replace(/^\?/, '');
  const range = `from=${encodeURIComponent(s.from).replace(/%2F/g, '/').replace(/%3A/g, ':')}&to=${encodeURIComponent(s.to).replace(/%2F/g, '/').replace(/%3A/g, ':')}`;
  return '?' + range + (rest ? '&' + rest : '');
}

interface OneProps {
  p: DashPanel;
  views: View[];
  from: string;
  to: string;
  grain: string;
  tz: string;
  live: boolean;
  held: boolean;
  hold: (on: boolean) => void;
  zoom: (from: string, to: string) => void;
}

function OnePanel(props: OneProps) {
  const [viewName = '', measureName = ''] = props.p.measure.split('.');
  const view = props.views.find((v) => v.name === viewName);
  const measure = view?.measures.find((m) => m.name === measureName);
  if (!view || !measure) {
    return (
      <section class="card panel">
        <div class="instead bad" role="alert">
          <strong>There is no {props.p.measure} any more.</strong>
        </div>
      </section>
    );
  }
  return props.p.chart === 'table' ? <Ranking {...props} view={view} measure={measure} /> : <Drawn {...props} view={view} measure={measure} />;
}

type Known = OneProps & { view: View; measure: Measure };

function grainOf(p: Known, zone: string, now: number): Grain {
  const wanted = grains.find((g) => g === p.grain);
  const length = resolve(p.to, now, zone) - resolve(p.from, now, zone);
  const auto = autoGrain(length, p.view.grain);
  return wanted && grains.indexOf(wanted) >= grains.indexOf(p.view.grain) ? wanted : auto;
}

function exploreLink(p: Known): string {
  const s: State = { ...(structuredClone(defaults) as State), from: p.from, to: p.to, live: p.to === 'now', m: [p.measure.name], by: p.p.by ? [p.p.by] : [], tz: p.tz };
  return `/explore/${p.view.name}${format(s)}`;
}

function Drawn(p: Known) {
  const live = useLive();
  const theme = useTheme();
  const now = useRef(Date.now());
  const zone = p.tz || p.view.time_zone;
  const by = useMemo(() => (p.p.by ? [p.p.by] : []), [p.p.by]);
  const grain = grainOf(p, zone, now.current);
  const tick = p.live ? (live.ticks[p.view.stream]?.n ?? 0) : -1;
  const base: Query = { view: p.view.name, measures: [p.measure.name], from: p.from, to: p.to, tz: zone };
  const lineQuery: Query = { ...base, by, grain, ...(by.length > 0 ? { order: `-${p.measure.name}`, limit: Math.min(p.p.top ?? slotCount, slotCount) } : {}) };
  const totals = useAnswer<Answer>('/v1/query?' + queryString(base), tick, 1000);
  const lines = useAnswer<Answer>('/v1/query?' + queryString(lineQuery), tick, 1000);
  const range = p.p.compare ? previous(p.from, p.to, now.current, zone) : null;
  const totalsBefore = useAnswer<Answer>(range ? '/v1/query?' + queryString({ ...base, ...range }) : '', tick, 1000);
  const linesBefore = useAnswer<Answer>(range && by.length === 0 ? '/v1/query?' + queryString({ ...base, ...range, grain }) : '', tick, 1000);
  if (lines.data) now.current = lines.data.at;
  const name = [p.measure.name];
  const totalFrame = useMemo(() => framed(totals.data?.body, [], name), [totals.data]);
  const lineFrame = useMemo(() => framed(lines.data?.body, by, name), [lines.data, by]);
  const beforeFrame = useMemo(() => framed(linesBefore.data?.body, [], name), [linesBefore.data]);
  const beforeTotals = useMemo(() => framed(totalsBefore.data?.body, [], name), [totalsBefore.data]);
  const top = useTop(lineFrame, by, p.measure);
  const meta = lines.data?.body.meta;
  return (
    <Panel
      measure={p.measure}
      kind={p.p.chart === 'table' ? 'line' : p.p.chart}
      href={exploreLink(p)}
      {...(p.p.title ? { title: p.p.title } : {})}
      before={range ? before(beforeFrame, beforeTotals, p.measure.name) : null}
      live={p.live}
      total={totalFrame?.measures.get(p.measure.name)?.[0] ?? null}
      totalOf={totals.data}
      lines={lineFrame}
      linesOf={lines.data}
      problem={lines.problem ?? totals.problem}
      top={top}
      slots={by.length > 0 ? memory.assign(`${p.view.name}/${by.join('/')}`, top) : [0]}
      theme={theme}
      range={{
        from: meta?.from ? Date.parse(meta.from) : resolve(p.from, now.current, zone),
        to: meta?.to ? Date.parse(meta.to) : resolve(p.to, now.current, zone),
      }}
      by={by}
      grain={grain}
      zone={zone}
      tall={false}
      held={p.held}
      onHold={p.hold}
      onZoom={p.zoom}
    />
  );
}

function framed(a: Answer | undefined, by: string[], names: string[]): Frame | null {
  return a ? frame(a, by, names) : null;
}

/** values of a dimension as a real table, largest first */
function Ranking(p: Known) {
  const live = useLive();
  const zone = p.tz || p.view.time_zone;
  const tick = p.live ? (live.ticks[p.view.stream]?.n ?? 0) : -1;
  const by = p.p.by ? [p.p.by] : [];
  const q: Query = { view: p.view.name, measures: [p.measure.name], by, from: p.from, to: p.to, tz: zone, ...(by.length > 0 ? { order: `-${p.measure.name}`, limit: p.p.top ?? 10 } : {}) };
  const { data, problem } = useAnswer<Answer>('/v1/query?' + queryString(q), tick, 1000);
  const f = data ? frame(data.body, by, [p.measure.name]) : null;
  const values = f?.measures.get(p.measure.name) ?? [];
  const names = p.p.by ? (f?.dims.get(p.p.by) ?? []) : values.map(() => 'total');
  const total = additive(p.measure.agg) ? values.reduce<number>((n, v) => n + (v ?? 0), 0) : 0;
  const state = panelState({ loaded: f !== null, problem, meta: data?.body.meta ?? null, rows: f?.n ?? 0, allZero: values.every((v) => v === 0), live: p.live, lost: lost(live.machine), at: data?.at ?? 0 });
  return (
    <section class={`card panel is-${state}`} data-state={state} aria-label={p.p.title ?? p.measure.display_name ?? p.measure.name}>
      <header>
        <h2>
          <a href={exploreLink(p)}>{p.p.title ?? p.measure.display_name ?? p.measure.name}</a>
        </h2>
        <Chip meta={data?.body.meta ?? null} at={data?.at ?? 0} tz={zone} state={state} />
      </header>
      <Instead state={state} problem={problem} />
      {f && f.n > 0 ? (
        <table class="ranking">
          <thead>
            <tr>
              <th scope="col">{p.p.by ?? ''}</th>
              <th scope="col" class="num">
                {p.measure.unit ?? p.measure.name}
              </th>
              <th scope="col" class="num">
                share
              </th>
            </tr>
          </thead>
          <tbody>
            {values.map((v, i) => (
              <tr key={names[i] ?? '\u0000'}>
                <th scope="row">{names[i] ?? <span class="muted">{nullLabel}</span>}</th>
                <td class="num" title={String(v)}>
                  {short(v, p.measure.format)}
                </td>
                <td class="num">{total > 0 && v !== null ? `${Math.round((100 * v) / total)}%` : ''}</td>
              </tr>
            ))}
          </tbody>
        </table>
      ) : null}
    </section>
  );
}
