// A line chart on uPlot: final points solid, "so far" dashed, focusable, its values spoken.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import type { Coverage } from './api';
import { dashes, tailDash, type Theme } from './color';
import { drawStates } from './chart-draw';
import { exact, none, short, type Format } from './format';
import { beforeData } from './panel';
import type { Line, Series } from './series';
import { bucketLabel, clock, date, iso, type Grain } from './time';

export interface ChartProps {
  name: string; // of the measure
  kind: 'line' | 'bar';
  data: Series;
  slots: number[]; // colour slot of each line, -1 for other
  theme: Theme;
  format: Format;
  unit: string;
  approx: boolean;
  zeroBased: boolean;
  grain: Grain;
  tz: string;
  coverage: Coverage[];
  height: number;
  held: boolean; // somebody reads this or another chart: keep what is drawn
  onHold: (on: boolean) => void;
  onZoom: (from: string, to: string) => void;
}

export function colorOf(theme: Theme, slot: number): string {
  return slot < 0 ? theme.other : (theme.palette[slot % theme.palette.length] ?? theme.other);
}

export function Chart(props: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  const [shown, setShown] = useState(props.data); // lags behind props.data while somebody looks closely
  const [at, setAt] = useState<number | null>(null);
  const [over, setOver] = useState(false); // somebody reads this chart
  const [area, setArea] = useState({ left: 0, width: 0 });
  latest.current = { ...props, data: shown };

  useEffect(() => {
    if (!props.held) setShown(props.data);
  }, [props.data, props.held]);
  const read = (on: boolean) => {
    setOver(on);
    props.onHold(on);
  };
  useEffect(() => () => latest.current.onHold(false), []);

  const shape = [props.kind, props.theme.dark, props.grain, props.tz, props.format, props.height, props.zeroBased, shown.lines.map((l) => l.key).join('\u0001'), props.slots.join()].join('\u0002');

  useLayoutEffect(() => {
    const root = box.current;
    if (!root) return;
    const u = new uPlot(options(latest, root.clientWidth, setAt, setArea), columns(latest.current.data), root);
    plot.current = u;
    const resize = new ResizeObserver(() => {
      if (root.clientWidth > 0) u.setSize({ width: root.clientWidth, height: latest.current.height });
    });
    resize.observe(root);
    return () => {
      resize.disconnect();
      plot.current = null;
      u.destroy();
    };
  }, [shape]);

  useLayoutEffect(() => plot.current?.setData(columns(shown)), [shown]);

  const move = (e: KeyboardEvent) => {
    const u = plot.current;
    if (!u) return;
    const last = shown.x.length - 1;
    const from = at ?? last + 1;
    const to: Record<string, number> = { ArrowLeft: Math.max(0, from - 1), ArrowRight: Math.min(last, from + 1), Home: 0, End: last };
    const idx = to[e.key];
    if (idx !== undefined) {
      e.preventDefault();
      e.stopPropagation();
      read(true);
      u.setCursor({ left: u.valToPos((shown.x[idx] ?? 0) / 1000, 'x'), top: 0 });
      setAt(idx);
    } else if (e.key === 'Escape' && at !== null) {
      e.preventDefault();
      leave();
    }
  };
  const leave = () => {
    plot.current?.setCursor({ left: -10, top: -10 });
    setAt(null);
    read(false);
  };

  const spoken = at === null || !over ? '' : speak(props, shown, at);
  return (
    <div
      class="chart"
      tabIndex={0}
      role="group"
      aria-roledescription="chart"
      aria-label={`${props.name}, ${shown.x.length} points by ${props.grain}. Arrow keys read the values, v shows a table.`}
      onKeyDown={move}
      onBlur={leave}
      onMouseEnter={() => read(true)}
      onMouseLeave={leave}
    >
      <div class="plot" ref={box} style={{ height: `${props.height}px` }} />
      {over && at !== null ? <Tip {...props} data={shown} at={at} left={tipLeft(plot.current, shown, at)} /> : null}
      <Strip coverage={props.coverage} data={shown} area={area} />
      <div class="offscreen" aria-live="polite">
        {spoken}
      </div>
    </div>
  );
}

function columns(s: Series): uPlot.AlignedData {
  return [s.x.map((t) => t / 1000), ...s.lines.flatMap((l) => [l.solid, l.tail])] as uPlot.AlignedData;
}

type Latest = { current: ChartProps };

function options(p: Latest, width: number, setAt: (i: number | null) => void, setArea: (a: { left: number; width: number }) => void): uPlot.Options {
  const { theme, kind, data, slots, format, height, zeroBased, tz } = p.current;
  const font = '11px system-ui, sans-serif';
  const measure = (u: uPlot) => setArea({ left: u.over.offsetLeft, width: u.over.clientWidth });
  return {
    width: Math.max(width, 50),
    height,
    padding: [10, 18, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      move: (u, left, top) => [snap(u, left), top],
      drag: { x: true, y: false, setScale: false },
      points: { size: 7 },
      sync: { key: 'pinflow', setSeries: false, scales: ['x', null] },
    },
    select: { show: true, left: 0, top: 0, width: 0, height: 0 },
    scales: {
      x: { time: true, range: (_u, min, max) => xRange(min, max, kind === 'bar' ? data.x : []) },
      y: { range: (_u, min, max) => yRange(min, max, zeroBased || kind === 'bar') },
    },
    axes: [
      {
        stroke: theme.muted,
        font,
        grid: { show: false },
        ticks: { stroke: theme.grid, width: 1, size: 4 },
        size: 26,
        gap: 4,
        values: (_u, splits) => timeLabels(splits, tz),
      },
      {
        stroke: theme.muted,
        font,
        grid: { stroke: theme.grid, width: 1 },
        ticks: { show: false },
        size: 54,
        gap: 6,
        values: (_u, splits) => splits.map((v) => (zeroBased && !Number.isInteger(v) && (splits.at(-1) ?? 0) < 10 ? '' : short(v, format))),
      },
    ],
    series: [{}, ...data.lines.flatMap((l, i) => kind === 'bar' ? bars(theme, slots[i] ?? -1) : pair(theme, slots[i] ?? -1, data.lines.length === 1, data.lines.length === 1 && zeroBased, l))],
    hooks: {
      ready: [measure],
      setSize: [measure],
      setCursor: [(u) => setAt(u.cursor.idx ?? null)],
      drawClear: [(u) => drawStates(u, p.current.data, p.current.theme, 'under')],
      draw: [(u) => drawStates(u, p.current.data, p.current.theme, kind === 'bar' ? 'bars' : 'over')],
      setSelect: [
        (u) => {
          if (u.select.width > 4) {
            const from = u.posToVal(u.select.left, 'x') * 1000;
            const to = u.posToVal(u.select.left + u.select.width, 'x') * 1000;
            p.current.onZoom(iso(from), iso(to));
          }
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
    },
  };
}

/** the cursor stands on points, not between them */
function snap(u: uPlot, left: number): number {
  if (left < 0) return left;
  const t = u.data[0][u.posToIdx(left)];
  return t === undefined ? left : u.valToPos(t, 'x');
}

/** two series of a line: final and so far */
function pair(theme: Theme, slot: number, alone: boolean, filled: boolean, line: Line): uPlot.Series[] {
  const stroke = colorOf(theme, slot);
  const base: uPlot.Series = { stroke, spanGaps: false, ...(filled ? { fill: stroke + (theme.dark ? '22' : '14') } : {}) };
  const isolated = (pick: 'solid' | 'tail') => ({
    show: true,
    size: 5,
    fill: stroke,
    filter: (u: uPlot, si: number): number[] => {
      const v = u.data[si] as (number | null)[];
      const out: number[] = [];
      for (let i = 0; i < v.length; i++) if (v[i] != null && v[i - 1] == null && v[i + 1] == null) out.push(i);
      return pick === 'tail' && out.length === 1 && line.solid[out[0] ?? 0] != null ? [] : out;
    },
  });
  const dash = slot < 0 ? [3, 3] : (dashes[slot] ?? []);
  return [
    { ...base, width: 1.75, dash: alone ? [] : dash, points: isolated('solid') },
    { ...base, width: 1.75, dash: tailDash, points: isolated('tail') },
  ];
}

/** half of each colour, without letting through what lies below */
function mix(a: string, b: string): string {
  const part = (c: string, i: number) => parseInt(c.slice(1 + 2 * i, 3 + 2 * i), 16);
  return `rgb(${[0, 1, 2].map((i) => Math.round((part(a, i) + part(b, i)) / 2)).join(', ')})`;
}

/** two series of bars: final and, paler, so far */
function bars(theme: Theme, slot: number): uPlot.Series[] {
  const stroke = colorOf(theme, slot);
  const paths = uPlot.paths.bars?.({ size: [0.75, 64] });
  const base: uPlot.Series = { stroke, width: 1, points: { show: false }, ...(paths ? { paths } : {}) };
  return [
    { ...base, fill: stroke },
    { ...base, fill: mix(stroke, theme.surface), dash: tailDash },
  ];
}

function yRange(min: number | null, max: number | null, zeroBased: boolean): [number, number] {
  if (min === null || max === null) return [0, 1];
  const low = zeroBased || min < 0 ? Math.min(0, min) : min;
  if (max === low) return [low, low + (Math.abs(max) || 1)];
  const span = max - low;
  return [zeroBased ? low : low - (low === 0 ? 0 : span * 0.08), max + span * 0.08];
}

/** bars need half a step beside the first and the last */
function xRange(min: number, max: number, steps: number[]): [number, number] {
  if (min === max) return [min - 30, max + 30];
  const half = ((steps[1] ?? 0) - (steps[0] ?? 0)) / 2000;
  return [min - half, max + half];
}

const monthDay = new Map<string, Intl.DateTimeFormat>();

function timeLabels(splits: number[], tz: string): string[] {
  let f = monthDay.get(tz);
  if (!f) monthDay.set(tz, (f = new Intl.DateTimeFormat('en', { timeZone: tz, month: 'short', day: 'numeric' })));
  const step = (splits[1] ?? 0) - (splits[0] ?? 0);
  let before = '';
  return splits.map((s) => {
    const ms = s * 1000;
    const day = date(ms, tz);
    const first = day !== before && before !== '';
    before = day;
    if (step >= 86_000 || (first && clock(ms, tz, false) === '00:00')) return f.format(ms);
    return clock(ms, tz, step < 60);
  });
}

function tipLeft(u: uPlot | null, s: Series, at: number): { x: number; flip: boolean } {
  if (!u) return { x: 0, flip: false };
  const x = u.valToPos((s.x[at] ?? 0) / 1000, 'x') + u.over.offsetLeft;
  return { x, flip: x > u.width / 2 };
}

function Tip(p: ChartProps & { at: number; left: { x: number; flip: boolean } }) {
  const state = p.data.state[p.at] ?? 'complete';
  const rows = p.data.lines.map((l, i) => ({ l, slot: p.slots[i] ?? -1, v: l.values[p.at] ?? null }));
  if (rows.length > 1) rows.sort((a, b) => Number(a.l.other) - Number(b.l.other) || (b.v ?? -Infinity) - (a.v ?? -Infinity));
  return (
    <div class={p.left.flip ? 'tip flip' : 'tip'} style={{ left: `${p.left.x}px` }} aria-hidden="true">
      <div class="tip-head">
        {bucketLabel(p.data.x[p.at] ?? 0, p.grain, p.tz)} {p.tz}
        {p.data.words[p.at] ? <em class={`state-${state}`}>{p.data.words[p.at]}</em> : null}
      </div>
      {rows.map(({ l, slot, v }) => (
        <div class="tip-row" key={l.key}>
          <Swatch color={colorOf(p.theme, slot)} slot={p.data.lines.length === 1 || p.kind === 'bar' ? 0 : slot} />
          <span class="tip-label">{l.label}</span>
          <b>
            {p.approx && v !== null ? '≈ ' : ''}
            {exact(v, p.format)}
          </b>
        </div>
      ))}
    </div>
  );
}

/** a piece of the line as it is drawn: colour and dash */
export function Swatch({ color, slot }: { color: string; slot: number }) {
  const dash = slot < 0 ? [3, 3] : (dashes[slot] ?? []);
  return (
    <svg class="swatch" width="18" height="8" aria-hidden="true">
      <line x1="0" y1="4" x2="18" y2="4" stroke={color} stroke-width="2.5" stroke-dasharray={dash.join(' ') || undefined} />
    </svg>
  );
}

function speak(p: ChartProps, s: Series, at: number): string {
  const state = s.words[at];
  const values = s.lines.map((l) => {
    const v = l.values[at] ?? null;
    return `${s.lines.length === 1 ? p.name : l.label} ${v === null ? 'no value' : exact(v, p.format)} ${p.unit}`.trim();
  });
  return `${bucketLabel(s.x[at] ?? 0, p.grain, p.tz)}: ${values.join(', ') || none}${state ? `, ${state}` : ''}`;
}

/** under the time axis: where each part of the range comes from */
function Strip({ coverage, data, area }: { coverage: Coverage[]; data: Series; area: { left: number; width: number } }) {
  const parts = useMemo(() => {
    const a = data.x[0] ?? 0;
    const b = data.x.at(-1) ?? 0;
    const pos = (t: number) => Math.min(1, Math.max(0, b > a ? (t - a) / (b - a) : t > a ? 1 : 0));
    return coverage
      .map((c) => ({ ...c, x: pos(Date.parse(c.from)), w: pos(Date.parse(c.to)) - pos(Date.parse(c.from)) }))
      .filter((c) => c.w > 0);
  }, [coverage, data.x]);
  if (parts.length === 0) return null;
  return (
    <svg class="strip" height="4" role="img" aria-label={parts.map((c) => `${c.source} from ${c.from} to ${c.to}`).join('; ')} style={{ marginLeft: `${area.left}px`, width: `${area.width}px` }}>
      {parts.map((c) => (
        <rect key={c.from + c.source} class={`cover cover-${c.reason === beforeData ? 'before' : c.source}`} x={c.x * area.width} width={Math.max(1, c.w * area.width)} height="4">
          <title>{`${c.source}: ${c.from} … ${c.to}${c.reason ? ` (${c.reason})` : ''}`}</title>
        </rect>
      ))}
    </svg>
  );
}
