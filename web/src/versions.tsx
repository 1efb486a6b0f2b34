// Two versions of a view side by side: the one that is built, or stands by, and the one that serves.
import { queryString, type Answer, type View } from './api';
import { exact, short, type Format } from './format';
import { useAnswer, useBeat } from './hooks';
import { go } from './router';
import { clock, date } from './time';
import { Instead, Notices, Segmented } from './ui';

/** one number that the two versions have differently */
export interface Difference {
  time: string;
  measure: string;
  before: unknown;
  after: unknown;
}

export interface Contrast {
  measures: { name: string; same: number; differ: number; before: number; after: number }[]; // sums over what was compared
  differences: Difference[]; // newest first
  compared: number; // points that both have completely
  open: number; // the others
  alone: string[]; // measures that only one of them has
}

interface Side {
  names: string[];
  rows: Map<string, { values: Map<string, unknown>; whole: boolean }>;
}

function side(a: Answer): Side {
  const names = a.columns.map((c) => (typeof c === 'string' ? c : c.name));
  const rows: Side['rows'] = new Map();
  a.rows.forEach((row, i) => {
    const state = a.points?.state?.[i];
    rows.set(String(row[0]), { values: new Map(names.map((n, k) => [n, row[k]])), whole: state === 'complete' || state === 'revised' });
  });
  return { names: names.slice(1), rows };
}

/** compares two answers to the same question, time first, one row a point of time */
export function contrast(before: Answer, after: Answer): Contrast {
  const [l, r] = [side(before), side(after)];
  const both = r.names.filter((n) => l.names.includes(n));
  const out: Contrast = {
    measures: both.map((name) => ({ name, same: 0, differ: 0, before: 0, after: 0 })),
    differences: [],
    compared: 0,
    open: 0,
    alone: [...r.names, ...l.names].filter((n) => !both.includes(n)),
  };
  for (const time of [...new Set([...l.rows.keys(), ...r.rows.keys()])].sort().reverse()) {
    const [was, is] = [l.rows.get(time), r.rows.get(time)];
    if (!was?.whole || !is?.whole) {
      out.open++;
      continue;
    }
    out.compared++;
    for (const m of out.measures) {
      const [a, b] = [was.values.get(m.name), is.values.get(m.name)];
      m.before += Number(a ?? 0);
      m.after += Number(b ?? 0);
      if (String(a) === String(b)) m.same++;
      else {
        m.differ++;
        out.differences.push({ time, measure: m.name, before: a, after: b });
      }
    }
  }
  return out;
}

/** which versions are put side by side, by state, the earlier one first; null when only one has numbers */
export function sides(states: string[]): [string, string] | null {
  if (!states.includes('serving')) return null;
  if (states.includes('building')) return ['serving', 'building'];
  return states.includes('standby') ? ['standby', 'serving'] : null;
}

const ranges = [
  { value: 'now-7d/d', label: '7 d' },
  { value: 'now-30d/d', label: '30 d' },
  { value: 'now-90d/d', label: '90 d' },
  { value: 'now-365d/d', label: '1 y' },
];
const usual = 'now-30d/d';

/** the range that the address asks for */
export function rangeOf(search: string): { from: string; notices: string[] } {
  const from = new URLSearchParams(search).get('from');
  if (from === null || ranges.some((r) => r.value === from)) return { from: from ?? usual, notices: [] };
  return { from: usual, notices: [`from=${from} is no range of this page: it is one of ${ranges.map((r) => r.value).join(', ')}.`] };
}

const most = 30; // differences that are listed

const value = (v: unknown, format?: Format): string => (v === null || v === undefined ? '–' : typeof v === 'number' ? exact(v, format) : String(v));

export function Comparison({ view, versions, search }: { view: View; versions: { hash: string; state: string }[]; search: string }) {
  const pair = sides(versions.map((v) => v.state));
  const { from, notices } = rangeOf(search);
  const beat = useBeat(5000);
  const path = (state: string) => (pair ? '/v1/query?' + queryString({ view: `${view.name}@${state}`, measures: [], from, to: 'now', grain: 'day' }) : '');
  const before = useAnswer<Answer>(path(pair?.[0] ?? ''), beat, 4000);
  const after = useAnswer<Answer>(path(pair?.[1] ?? ''), beat, 4000);
  if (!pair) return null;
  const hash = (state: string) => versions.find((v) => v.state === state)?.hash.slice(0, 8);
  const problem = before.problem ?? after.problem;
  return (
    <section class="card code" aria-label="comparison of versions">
      <header>
        <h2>
          {pair.map((state, i) => (
            <>
              {i > 0 ? ' beside ' : ''}
              <code>{hash(state)}</code> {state}
            </>
          ))}
        </h2>
        <Segmented label="range" options={ranges} value={from} onPick={(v) => go(location.pathname + (v === usual ? '' : `?from=${v}`), true)} />
      </header>
      <Notices list={notices} />
      {before.data && after.data ? <Found view={view} names={pair} c={contrast(before.data.body, after.data.body)} completeTo={after.data.body.meta.complete_to} /> : <Instead state={problem ? 'error' : 'loading'} problem={problem} />}
    </section>
  );
}

/** what was found, by measure and by day */
export function Found({ view, names, c, completeTo }: { view: View; names: [string, string]; c: Contrast; completeTo: string | null | undefined }) {
  const of = (name: string) => view.measures.find((m) => m.name === name);
  const adds = (name: string) => ['count', 'sum'].includes(of(name)?.agg ?? '');
  const differ = c.measures.reduce((n, m) => n + m.differ, 0);
  const all = c.measures.reduce((n, m) => n + m.differ + m.same, 0);
  return (
    <>
      <p>
        {c.compared === 0 ? 'No day is complete in both versions yet.' : differ === 0 ? `All ${exact(all)} numbers of ${exact(c.compared)} days are the same.` : `${exact(differ)} of ${exact(all)} numbers of ${exact(c.compared)} days differ.`}{' '}
        <span class="muted">
          {c.open > 0 ? `Not compared: ${exact(c.open)} ${c.open === 1 ? 'day' : 'days'} that one of them has not completely. ` : ''}
          {c.alone.length > 0 ? `Only one of them has ${c.alone.join(', ')}. ` : ''}
          {completeTo ? `Complete to ${date(Date.parse(completeTo), view.time_zone)} ${clock(Date.parse(completeTo), view.time_zone)} ${view.time_zone}.` : ''}
        </span>
      </p>
      {c.compared > 0 ? (
        <div class="table-wrap" tabIndex={0} role="region" aria-label="by measure">
          <table>
            <caption>By measure, over the days that both have; sums of counts and sums alone</caption>
            <thead>
              <tr>
                <th scope="col">measure</th>
                <th scope="col" class="num">days that differ</th>
                <th scope="col" class="num">{names[0]}</th>
                <th scope="col" class="num">{names[1]}</th>
                <th scope="col" class="num">difference</th>
              </tr>
            </thead>
            <tbody>
              {c.measures.map((m) => (
                <tr key={m.name}>
                  <th scope="row">{m.name}</th>
                  <td class="num">{m.differ > 0 ? `${exact(m.differ)} of ${exact(m.differ + m.same)}` : 'none'}</td>
                  <td class="num">{adds(m.name) ? exact(m.before, of(m.name)?.format) : ''}</td>
                  <td class="num">{adds(m.name) ? exact(m.after, of(m.name)?.format) : ''}</td>
                  <td class="num">{adds(m.name) ? change(m.before, m.after) : ''}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : null}
      {c.differences.length > 0 ? (
        <div class="table-wrap" tabIndex={0} role="region" aria-label="by day">
          <table>
            <caption>{c.differences.length > most ? `The newest ${most} of ${exact(c.differences.length)} differences` : 'Differences, newest first'}</caption>
            <thead>
              <tr>
                <th scope="col">day</th>
                <th scope="col">measure</th>
                <th scope="col" class="num">{names[0]}</th>
                <th scope="col" class="num">{names[1]}</th>
                <th scope="col" class="num">difference</th>
              </tr>
            </thead>
            <tbody>
              {c.differences.slice(0, most).map((d) => (
                <tr key={`${d.time} ${d.measure}`}>
                  <th scope="row">{date(Date.parse(d.time), view.time_zone)}</th>
                  <td>{d.measure}</td>
                  <td class="num">{value(d.before, of(d.measure)?.format)}</td>
                  <td class="num">{value(d.after, of(d.measure)?.format)}</td>
                  <td class="num">{typeof d.before === 'number' && typeof d.after === 'number' ? change(d.before, d.after) : ''}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : null}
      <p class="muted">
        With dimensions and other grains: <code>pinflow backfill compare {view.name} --by … --grain hour</code>
      </p>
    </>
  );
}

/** how much the second is more than the first, and in parts of it */
export function change(a: number, b: number): string {
  if (a === b) return '0';
  const by = b - a;
  const parts = a === 0 ? '' : ` (${by > 0 ? '+' : '−'}${short(Math.abs(by / a), 'percent')})`;
  return `${by > 0 ? '+' : '−'}${exact(Math.abs(by))}${parts}`;
}
