// One measure: its number, its lines, how fresh they are, and exactly one of the panel states.
import { useMemo } from 'preact/hooks';
import type { Answer, Fetched, Measure, Problem } from './api';
import { Chart, colorOf, Swatch } from './chart';
import type { Theme } from './color';
import { short } from './format';
import { useLive } from './live';
import { additive } from './model';
import { panelState } from './panel';
import { otherKey, series, type Frame } from './series';
import type { Grain } from './time';
import { lost } from './sse';
import { Chip, Instead, StateNote } from './ui';

export interface PanelProps {
  measure: Measure;
  live: boolean;
  total: number | null;
  totalOf: Fetched<Answer> | null;
  lines: Frame | null;
  linesOf: Fetched<Answer> | null;
  problem: Problem | null;
  by: string[];
  top: string[];
  slots: number[];
  theme: Theme;
  range: { from: number; to: number };
  grain: Grain;
  zone: string;
  tall: boolean;
  held: boolean;
  onHold: (on: boolean) => void;
  onZoom: (from: string, to: string) => void;
}

export function Panel(p: PanelProps) {
  const { machine } = useLive();
  const m = p.measure;
  const adds = additive(m.agg);
  const data = useMemo(
    () => (p.lines?.measures.has(m.name) ? series(p.lines, { measure: m.name, by: p.by, top: p.top, other: p.lines.meta.other?.label ?? '', additive: adds, grain: p.grain, tz: p.zone, ...p.range }) : null),
    [p.lines, p.top, m.name, p.grain, p.zone],
  );
  const meta = p.linesOf?.body.meta ?? null;
  const state = panelState({
    loaded: data !== null,
    problem: p.problem,
    meta,
    rows: p.lines?.n ?? 0,
    allZero: (p.lines?.measures.get(m.name) ?? []).every((v) => v === 0),
    live: p.live,
    lost: lost(machine),
    at: p.linesOf?.at ?? 0,
  });
  const approx = (meta?.approx ?? {})[m.name];
  const instead = state === 'loading' || state === 'empty' || state === 'never' || state === 'error';
  const slots = data?.lines.map((l) => (l.key === otherKey ? -1 : (p.slots[p.top.indexOf(l.key)] ?? 0))) ?? [];
  return (
    <section class={`card panel is-${state}`} data-state={state} aria-label={m.display_name ?? m.name}>
      <header>
        <h2 title={m.description}>{m.display_name ?? m.name}</h2>
        <Chip meta={meta} at={p.linesOf?.at ?? 0} tz={p.zone} state={state} />
      </header>
      <div class="big">
        <output class="value" data-measure={m.name} title={p.total === null ? '' : String(p.total)}>
          {approx !== undefined && p.total !== null ? '≈ ' : ''}
          {instead && state !== 'empty' ? '–' : short(p.total, m.format)}
        </output>
        <span class="unit muted">
          {m.unit ?? ''}
          {approx !== undefined ? ` ± ${short(approx, 'percent')}` : ''}
        </span>
      </div>
      <StateNote state={state} problem={p.problem} meta={meta} at={p.linesOf?.at ?? 0} tz={p.zone} />
      <Instead state={state} problem={p.problem} />
      {data && !instead ? (
        <>
          <Chart
            name={m.display_name ?? m.name}
            data={data}
            slots={slots}
            theme={p.theme}
            format={m.format ?? 'humanize'}
            unit={m.unit ?? ''}
            approx={approx !== undefined}
            zeroBased={adds}
            grain={p.grain}
            tz={p.zone}
            coverage={meta?.coverage ?? []}
            height={p.tall ? 260 : 180}
            held={p.held}
            onHold={p.onHold}
            onZoom={p.onZoom}
          />
          {data.lines.length > 1 ? (
            <ul class="legend">
              {data.lines.map((l, i) => (
                <li key={l.key}>
                  <Swatch color={colorOf(p.theme, slots[i] ?? -1)} slot={slots[i] ?? -1} />
                  {l.label}
                </li>
              ))}
            </ul>
          ) : null}
        </>
      ) : null}
    </section>
  );
}
