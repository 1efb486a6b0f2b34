// One measure: its number, its lines, how fresh they are, and exactly one of the panel states.
import { useMemo } from 'preact/hooks';
import type { Answer, Fetched, Measure, Problem } from './api';
import { Chart, colorOf, Swatch } from './chart';
import type { Theme } from './color';
import { short } from './format';
import { useLive } from './live';
import { additive, change } from './model';
import { panelState } from './panel';
import { otherKey, previousKey, series, stacked, withPrevious, type Frame } from './series';
import type { Grain } from './time';
import { lost } from './sse';
import { Chip, Instead, StateNote } from './ui';

/** the same of the period before */
export interface Before {
  lines: Frame | null;
  total: number | null;
  range: { from: number; to: number };
}

export interface PanelProps {
  measure: Measure;
  kind?: 'line' | 'bar' | 'number';
  title?: string;
  href?: string; // where the title leads
  before?: Before | null;
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
  const kind = p.kind ?? 'line';
  const data = useMemo(() => {
    if (!p.lines?.measures.has(m.name)) return null;
    const made = series(p.lines, { measure: m.name, by: p.by, top: p.top, other: p.lines.meta.other?.label ?? '', additive: adds, grain: p.grain, tz: p.zone, ...p.range });
    if (kind === 'bar' && adds && made.lines.length > 1) return stacked(made);
    if (kind === 'line' && p.by.length === 0 && p.before?.lines) return withPrevious(made, p.before.lines, m.name, { additive: adds, grain: p.grain, tz: p.zone, ...p.before.range });
    return made;
  }, [p.lines, p.before?.lines, p.top, m.name, p.grain, p.zone, kind]);
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
  const slots = data?.lines.map((l) => (l.key === otherKey || l.key === previousKey ? -1 : (p.slots[p.top.indexOf(l.key)] ?? 0))) ?? [];
  return (
    <section class={`card panel is-${state} kind-${kind}`} data-state={state} aria-label={m.display_name ?? m.name}>
      <header>
        <h2 title={m.description}>{p.href ? <a href={p.href}>{p.title ?? m.display_name ?? m.name}</a> : (p.title ?? m.display_name ?? m.name)}</h2>
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
        {p.before && !instead ? (
          <span class="change" title={`period before, as far as it has elapsed: ${short(p.before.total, m.format)}`}>
            {change(p.total, p.before.total) || '–'} <span class="muted">against the period before</span>
          </span>
        ) : null}
      </div>
      <StateNote state={state} problem={p.problem} meta={meta} at={p.linesOf?.at ?? 0} tz={p.zone} />
      <Instead state={state} problem={p.problem} />
      {data && !instead && kind !== 'number' ? (
        <>
          <Chart
            name={m.display_name ?? m.name}
            kind={kind}
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
