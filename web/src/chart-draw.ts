// What a chart draws besides lines: hatched gaps under them, rings and hollow points over them.
import type uPlot from 'uplot';
import type { Theme } from './color';
import { previousKey, type Series } from './series';

export function drawStates(u: uPlot, s: Series, theme: Theme, layer: 'under' | 'over' | 'bars'): void {
  if (layer === 'bars') return; // a bar's state is in its paleness and in the tooltip
  const ctx = u.ctx;
  ctx.save();
  ctx.beginPath();
  ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  ctx.clip();
  if (layer === 'under') hatch(u, s, theme);
  else points(u, s, theme);
  ctx.restore();
}

/** grey hatch where data is missing */
function hatch(u: uPlot, s: Series, theme: Theme): void {
  const ctx = u.ctx;
  ctx.strokeStyle = theme.other;
  ctx.globalAlpha = 0.35;
  ctx.lineWidth = 1;
  for (let i = 0; i < s.x.length; i++) {
    if (s.state[i] !== 'missing') continue;
    let j = i;
    while (s.state[j + 1] === 'missing') j++;
    const half = ((s.x[1] ?? 0) - (s.x[0] ?? 0)) / 2000;
    const a = u.valToPos((s.x[i] ?? 0) / 1000 - half, 'x', true);
    const b = u.valToPos((s.x[j] ?? 0) / 1000 + half, 'x', true);
    ctx.save();
    ctx.beginPath();
    ctx.rect(a, u.bbox.top, b - a, u.bbox.height);
    ctx.clip();
    ctx.beginPath();
    for (let x = a - u.bbox.height; x < b; x += 8) {
      ctx.moveTo(x, u.bbox.top + u.bbox.height);
      ctx.lineTo(x + u.bbox.height, u.bbox.top);
    }
    ctx.stroke();
    ctx.restore();
    i = j;
  }
}

/** ring: revised; hollow: history being filled in */
function points(u: uPlot, s: Series, theme: Theme): void {
  const ctx = u.ctx;
  const ratio = devicePixelRatio || 1;
  const dense = u.bbox.width / Math.max(s.x.length, 1) < 14 * ratio;
  ctx.setLineDash([]);
  s.lines.forEach((line, l) => {
    if (line.key === previousKey) return; // the states are those of this period
    const stroke = u.series[1 + 2 * l]?.stroke;
    ctx.strokeStyle = typeof stroke === 'function' ? String(stroke(u, 1 + 2 * l)) : theme.muted;
    ctx.fillStyle = theme.surface;
    ctx.lineWidth = 1.5 * ratio;
    for (let i = 0; i < s.x.length; i++) {
      const v = line.values[i];
      if (v === null || v === undefined || (s.state[i] !== 'revised' && s.state[i] !== 'backfilling')) continue;
      ctx.beginPath();
      ctx.arc(u.valToPos((s.x[i] ?? 0) / 1000, 'x', true), u.valToPos(v, 'y', true), (s.state[i] === 'revised' && !dense ? 4 : 2.5) * ratio, 0, 2 * Math.PI);
      if (s.state[i] === 'backfilling') ctx.fill();
      ctx.stroke();
    }
  });
}
