// Back-fills: how far each history is, day by day, what was planned, and the ways to steer it.
import { useState } from 'preact/hooks';
import { post, Problem } from './api';
import { bytes, duration, exact, rate, short } from './format';
import { useAnswer, useBeat } from './hooks';
import { clock, date } from './time';
import { Instead } from './ui';

export interface Task {
  day: string;
  state: string;
  rows: number;
  rows_total: number;
  bytes: number;
  tries: number;
  error?: string;
  next_try: string | null;
  holder?: string;
  started_at: string | null;
  finished_at: string | null;
}

export interface Backfill {
  id: number;
  view: string;
  stream: string;
  version: string;
  version_state: string;
  engine: string;
  state: string;
  import?: string; // the imported file that it is of
  created_at: string;
  finished_at: string | null;
  days: Record<string, number>;
  rows_done: number;
  rows_total: number;
  rows_per_second: number;
  eta_seconds: number | null;
  days_waiting: number;
  next_try: string | null;
  error?: string;
  plan?: {
    category?: string;
    detail?: string;
    file?: string;
    line?: number;
    diff?: string[];
    backfill?: { from?: string; to?: string; days: number; rows: number; bytes: number; low_seconds: number; high_seconds: number };
  };
  tasks?: Task[];
}

const marks: Record<string, string> = { done: '●', running: '◐', queued: '○', failed: '✕' };

/** what can be done about it now, as the server would allow it */
export function actions(b: Backfill): string[] {
  const out: string[] = [];
  if (b.state === 'queued' || b.state === 'running') out.push('pause');
  if (b.state === 'paused') out.push('resume');
  if ((b.days['failed'] ?? 0) + b.days_waiting > 0 && b.state !== 'cancelled') out.push('retry');
  if (b.import) return out; // every version holds the file's rows
  if (b.state !== 'done' && b.state !== 'cancelled') out.push('cancel');
  if (b.state === 'done' && b.version_state === 'serving') out.push('rollback');
  return out;
}

const under = (b: Backfill) => b.state === 'queued' || b.state === 'running';

export function Backfills() {
  const beat = useBeat(2000);
  const { data, problem } = useAnswer<{ backfills: Backfill[] }>('/v1/backfills', beat, 1000);
  if (!data) return <main class="wide"><Instead state={problem ? 'error' : 'loading'} problem={problem} /></main>;
  const list = data.body.backfills;
  return (
    <main class="wide">
      <div class="title">
        <h1>Back-fills</h1>
        <p class="muted">History that is computed again, or for the first time. Until one is done, the version before it goes on serving.</p>
      </div>
      {list.length === 0 ? (
        <div class="card">
          <div class="instead">
            <span>
              None yet. Change a file under <code>metrics/</code> and run <code>pinflow plan</code>, then <code>pinflow apply</code>.
            </span>
          </div>
        </div>
      ) : (
        <div class="card table-wrap" tabIndex={0} role="region" aria-label="back-fills">
          <table>
            <thead>
              <tr>
                <th scope="col">id</th>
                <th scope="col">view</th>
                <th scope="col">version</th>
                <th scope="col">state</th>
                <th scope="col">days</th>
                <th scope="col" class="num">rows</th>
                <th scope="col" class="num">rows/s</th>
                <th scope="col">left</th>
                <th scope="col">begun</th>
              </tr>
            </thead>
            <tbody>
              {list.map((b) => (
                <tr key={b.id}>
                  <th scope="row">
                    <a href={`/backfills/${b.id}`}>{b.id}</a>
                  </th>
                  <td>
                    <a href={`/catalogue/${b.view}`}>{b.view}</a>
                    {b.import ? <div class="muted wrap">file {b.import}</div> : null}
                  </td>
                  <td>
                    <code>{b.version.slice(0, 8)}</code> {b.version_state}
                  </td>
                  <td class={b.state === 'failed' ? 'bad' : ''}>
                    {b.state}
                    {b.error ? <div class="wrap bad">{b.error}</div> : null}
                  </td>
                  <td>
                    <Progress b={b} />
                  </td>
                  <td class="num">{short(b.rows_done)}</td>
                  <td class="num">{rate(b.rows_per_second)}</td>
                  <td>{left(b)}</td>
                  <td>{when(b.created_at)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </main>
  );
}

export function BackfillPage({ id }: { id: string }) {
  const beat = useBeat(1000);
  const path = `/v1/backfills/${encodeURIComponent(id)}`;
  const [asked, ask] = useState(0);
  const { data, problem } = useAnswer<Backfill>(path, beat + asked, 500);
  if (!data) return <main class="wide"><Instead state={problem ? 'error' : 'loading'} problem={problem} /></main>;
  const b = data.body;
  return (
    <main class="wide">
      <div class="title">
        <p class="muted">
          <a href="/backfills">Back-fills</a> /
        </p>
        <h1>
          {b.view} <span class="muted">#{b.id}</span>
        </h1>
        <p class="muted">
          version <code>{b.version.slice(0, 8)}</code>, {b.version_state} · engine {b.engine}
          {b.import ? ` · of the file ${b.import}` : ''} · begun {when(b.created_at)}
          {b.finished_at ? ` · ended ${when(b.finished_at)}` : ''}
        </p>
      </div>
      <section class="card code" aria-label="progress">
        <header>
          <h2 class={b.state === 'failed' ? 'bad' : ''}>{b.state}</h2>
          <Steer b={b} path={path} done={() => ask(asked + 1)} />
        </header>
        <Progress b={b} wide />
        <dl class="facts">
          <Fact name="days" value={`${exact(b.days['done'] ?? 0)} of ${exact(b.days['total'] ?? 0)}`} />
          <Fact name="rows" value={`${short(b.rows_done)} of ${short(b.rows_total)}`} />
          <Fact name="rows a second" value={short(Math.round(b.rows_per_second))} />
          <Fact name="left" value={left(b)} />
          {(b.days['failed'] ?? 0) > 0 ? <Fact name="failed" value={exact(b.days['failed'])} /> : null}
          {b.days_waiting > 0 ? <Fact name="to be tried again" value={`${exact(b.days_waiting)}, at ${at(b.next_try)}`} /> : null}
        </dl>
        {b.error ? (
          <p>
            <span class="muted">last failure</span> <span class="bad">{b.error}</span>
          </p>
        ) : null}
        {b.tasks && b.tasks.length > 0 ? (
          <div class="day-grid" role="img" aria-label={`${b.days['done'] ?? 0} of ${b.days['total'] ?? 0} days are done`}>
            {[...b.tasks].reverse().map((t) => (
              <span key={t.day} class={`day day-${t.state}`} title={`${t.day}: ${t.state}${t.error ? `: ${t.error}` : ''}`}>
                {marks[t.state] ?? '?'}
              </span>
            ))}
          </div>
        ) : (
          <p class="muted">{b.state === 'queued' ? 'Its days are being listed: the lake has to pass the cut first.' : 'There was no day to fill in.'}</p>
        )}
      </section>
      <Planned b={b} />
      {b.tasks && b.tasks.length > 0 ? <Tasks list={b.tasks} /> : null}
    </main>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function Steer({ b, path, done }: { b: Backfill; path: string; done: () => void }) {
  const [sure, setSure] = useState('');
  const [said, say] = useState('');
  const act = async (action: string) => {
    if ((action === 'cancel' || action === 'rollback') && sure !== action) return setSure(action);
    setSure('');
    try {
      await post(`${path}/${action}`);
      say('');
    } catch (e) {
      say(e instanceof Problem ? e.detail : String(e));
    }
    done();
  };
  return (
    <span class="tools">
      {said ? (
        <span class="chip bad" role="alert">
          {said}
        </span>
      ) : null}
      {actions(b).map((a) => (
        <button key={a} class="toggle" onClick={() => void act(a)} onBlur={() => setSure('')}>
          {sure === a ? `really ${a}?` : a}
        </button>
      ))}
    </span>
  );
}

/** the days by state, as a bar */
function Progress({ b, wide }: { b: Backfill; wide?: boolean }) {
  const total = b.days['total'] ?? 0;
  let x = 0;
  return (
    <span class={wide ? 'progress wide' : 'progress'}>
      <svg class="sumbar" viewBox="0 0 1000 10" preserveAspectRatio="none" height="8" aria-hidden="true">
        {['done', 'running', 'failed'].map((s) => {
          const w = total > 0 ? (1000 * (b.days[s] ?? 0)) / total : 0;
          const from = x;
          x += w;
          return <rect key={s} class={`task-${s}`} x={from} width={w} height="10" />;
        })}
      </svg>
      {wide ? null : `${b.days['done'] ?? 0}/${total}`}
    </span>
  );
}

function left(b: Backfill): string {
  if (!under(b)) return '';
  return b.eta_seconds === null ? 'not known yet' : `about ${duration(b.eta_seconds * 1000)}`;
}

function when(text: string | null): string {
  if (!text) return '–';
  const ms = Date.parse(text);
  return `${date(ms, 'UTC')} ${clock(ms, 'UTC')} UTC`;
}

const at = (text: string | null) => (text ? `${clock(Date.parse(text), 'UTC')} UTC` : '–');

function Planned({ b }: { b: Backfill }) {
  const p = b.plan;
  if (!p) return null;
  const f = p.backfill;
  return (
    <section class="card code" aria-label="what was planned">
      <header>
        <h2>What was planned</h2>
        <span class="muted">{p.category}</span>
      </header>
      <p>
        {p.detail} {p.file ? <code>{`${p.file}${p.line ? `:${p.line}` : ''}`}</code> : null}
      </p>
      {p.diff && p.diff.length > 0 ? (
        <pre class="diff">
          {p.diff.map((l, i) => (
            <div key={i} class={l.startsWith('+') ? 'added' : l.startsWith('-') ? 'removed' : ''}>
              {l}
            </div>
          ))}
        </pre>
      ) : null}
      {f ? (
        <p class="muted">
          {f.from} – {f.to}: {exact(f.days)} days, {short(f.rows)} rows, {bytes(f.bytes)} to read, {duration(f.low_seconds * 1000)} to {duration(f.high_seconds * 1000)} were expected.
        </p>
      ) : null}
    </section>
  );
}

function Tasks({ list }: { list: Task[] }) {
  return (
    <div class="card table-wrap" tabIndex={0} role="region" aria-label="days of the back-fill">
      <table>
        <caption>Days, newest first, as they are filled in</caption>
        <thead>
          <tr>
            <th scope="col">day</th>
            <th scope="col">state</th>
            <th scope="col" class="num">rows</th>
            <th scope="col" class="num">read</th>
            <th scope="col">took</th>
            <th scope="col" class="num">tries</th>
            <th scope="col">worker</th>
            <th scope="col">error</th>
          </tr>
        </thead>
        <tbody>
          {list.map((t) => (
            <tr key={t.day}>
              <th scope="row">{t.day}</th>
              <td class={t.state === 'failed' ? 'bad' : ''}>
                {t.state}
                {t.next_try ? ` until ${at(t.next_try)}` : ''}
              </td>
              <td class="num">{exact(t.rows)}</td>
              <td class="num">{bytes(t.bytes)}</td>
              <td>{t.started_at && t.finished_at ? duration(Date.parse(t.finished_at) - Date.parse(t.started_at)) : ''}</td>
              <td class="num">{t.tries}</td>
              <td>{t.holder}</td>
              <td class="wrap bad">{t.error}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
