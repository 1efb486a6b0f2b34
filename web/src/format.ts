// Numbers as people read them. One place, so that a value looks the same everywhere.

export type Format = 'humanize' | 'number' | 'integer' | 'percent' | 'currency' | 'bytes' | 'duration_ms';

const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });
const integer = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const number = new Intl.NumberFormat('en', { maximumFractionDigits: 2 });
const fine = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });
const percent = new Intl.NumberFormat('en', { style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1 });
const currency = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** what stands for "no value": never a zero */
export const none = '–';

/** short form, for big numbers, axes and boards */
export function short(v: number | null | undefined, format: Format = 'humanize'): string {
  if (v === null || v === undefined || !Number.isFinite(v)) return none;
  switch (format) {
    case 'percent':
      return percent.format(v);
    case 'bytes':
      return bytes(v);
    case 'duration_ms':
      return duration(v);
    case 'currency':
      return Math.abs(v) >= 1e5 ? compact.format(v) : currency.format(v);
    case 'number':
    case 'integer':
    case 'humanize':
      if (v !== 0 && Math.abs(v) < 1) return fine.format(v);
      if (Math.abs(v) < 10_000) return Number.isInteger(v) ? integer.format(v) : number.format(v);
      return compact.format(v);
  }
}

/** exact form, for tooltips and tables */
export function exact(v: number | string | null | undefined, format: Format = 'number'): string {
  if (v === null || v === undefined) return none;
  if (typeof v === 'string') return v;
  if (!Number.isFinite(v)) return none;
  switch (format) {
    case 'percent':
      return new Intl.NumberFormat('en', { style: 'percent', maximumFractionDigits: 2 }).format(v);
    case 'bytes':
      return integer.format(v) + ' B';
    case 'duration_ms':
      return number.format(v) + ' ms';
    case 'currency':
      return currency.format(v);
    default:
      if (v !== 0 && Math.abs(v) < 0.01) return fine.format(v);
      return Number.isInteger(v) ? integer.format(v) : new Intl.NumberFormat('en', { maximumFractionDigits: 4 }).format(v);
  }
}

/** 1.5 MiB, as the commands write it */
export function bytes(v: number): string {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let i = 0;
  let n = v;
  while (Math.abs(n) >= 1023.5 && i < names.length - 1) {
    n /= 1024;
    i++;
  }
  return `${i === 0 || Math.abs(n) >= 99.95 ? integer.format(n) : fine.format(n)} ${names[i]}`;
}

/** 1.2 s · 4 min 5 s · 2 h 10 min · 3 d 4 h */
export function duration(ms: number): string {
  const sign = ms < 0 ? '−' : '';
  const s = Math.abs(ms) / 1000;
  if (s < 1) return `${sign}${Math.round(s * 1000)} ms`;
  if (s < 10) return `${sign}${s.toFixed(1)} s`;
  if (s < 60) return `${sign}${Math.floor(s)} s`;
  const pair = (big: number, bigName: string, small: number, smallName: string) =>
    sign + (small > 0 ? `${big} ${bigName} ${small} ${smallName}` : `${big} ${bigName}`);
  if (s < 3600) return pair(Math.floor(s / 60), 'min', Math.floor(s % 60), 's');
  if (s < 86_400) return pair(Math.floor(s / 3600), 'h', Math.floor((s % 3600) / 60), 'min');
  return pair(Math.floor(s / 86_400), 'd', Math.floor((s % 86_400) / 3600), 'h');
}

/** 1.2K/s; small rates keep a digit */
export function rate(perSecond: number | null | undefined): string {
  if (perSecond === null || perSecond === undefined || !Number.isFinite(perSecond)) return none;
  if (perSecond > 0 && perSecond < 10) return `${perSecond.toFixed(1)}/s`;
  return `${short(Math.round(perSecond))}/s`;
}
