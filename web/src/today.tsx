// Today: is it up to date, is anything lost, where to go on. On a first run: a line to paste.
import { type View } from './api';
import { exact, duration, rate, short } from './format';
import { useAnswer } from './hooks';
import { useLive } from './live';
import { atRisk, deadlineWords, landingWords, missed, parts, sum, type Day, type Status, type StreamStatus } from './status';
import { clock, date, floor } from './time';
import { CopyButton, Instead } from './ui';

const examples: Record<string, string> = {
  pin: '{"category":"travel","title":"Hello","follower_count":"124k","poster_name":"me","is_image_or_video":"image"}',
  geo: '{"ind":1,"country":"Portugal","latitude":38.7,"longitude":-9.1}',
  user: '{"ind":1,"first_name":"Ada","last_name":"L","age":36}',
};

export function Today({ views }: { views: View[] }) {
  const live = useLive();
  const ticks = Object.values(live.ticks).reduce((n, t) => n + t.n, 0);
  const status = useAnswer<Status>('/v1/status', ticks + live.status, 1000);
  const days = useAnswer<{ days: Day[] }>('/v1/days', live.status);
  if (!status.data) return <main class="today"><Instead state={status.problem ? 'error' : 'loading'} problem={status.problem} /></main>;
  const s = status.data.body;
  const all = sum(s.streams.map((x) => x.conservation));
  if (all.accepted === 0) return <FirstRun streams={s.streams} connected={live.machine.phase === 'open'} />;
  const at = status.data.at;
  return (
    <main class="today">
      <div class="title">
        <h1>Today</h1>
        <p class="muted">
          as of {clock(at, 'UTC')} UTC, {date(at, 'UTC')}
        </p>
      </div>
      {s.problems.length > 0 ? (
        <section class="card needs" aria-label="what needs you">
          <h2>Needs you</h2>
          <ul>
            {s.problems.map((p) => (
              <li key={p}>{p}</li>
            ))}
          </ul>
        </section>
      ) : null}
      <Yesterday days={days.data?.body.days ?? []} at={at} />
      <div class="streams">
        {s.streams.map((x) => (
          <StreamCard key={x.name} s={x} at={at} live={live.ticks[x.name]?.last.rate} views={views.filter((v) => v.stream === x.name)} />
        ))}
      </div>
      <Conserved status={s} />
    </main>
  );
}

function FirstRun({ streams, connected }: { streams: StreamStatus[]; connected: boolean }) {
  const names = streams.length > 0 ? streams.map((s) => s.name) : ['pin'];
  const name = names.includes('pin') ? 'pin' : (names[0] ?? 'pin');
  const line = `curl -s ${location.origin}/v1/streams/${name}/events -H 'Content-Type: application/json' -d '${examples[name] ?? '{"hello":"world"}'}'`;
  return (
    <main class="today first">
      <h1>No event yet</h1>
      <p>Paste this into a terminal. The page comes alive at the first event.</p>
      <div class="card paste">
        <pre>
          <code>{line}</code>
        </pre>
        <CopyButton label="Copy" text={() => line} />
      </div>
      <p class="muted" role="status">
        <span class={connected ? 'dot on' : 'dot'} /> {connected ? 'Listening' : 'Connecting…'} · streams: {names.join(', ')}
      </p>
    </main>
  );
}

/** each zone that the streams' days are kept in has a yesterday of its own */
export function yesterdays(days: Day[], at: number): { zone: string; day: string; of: Day[] }[] {
  const zones = [...new Set(days.map((d) => d.zone))].sort((a, b) => Number(b === 'UTC') - Number(a === 'UTC') || a.localeCompare(b));
  return zones
    .map((zone) => {
      const day = date(floor(at, 'day', zone) - 1, zone);
      return { zone, day, of: days.filter((d) => d.zone === zone && d.date === day) };
    })
    .filter((y) => y.of.length > 0);
}

function Yesterday({ days, at }: { days: Day[]; at: number }) {
  const list = yesterdays(days, at);
  if (list.length === 0) return null;
  return (
    <section class="card yesterday" aria-label="yesterday">
      {list.map(({ zone, day, of }) => {
        const open = of.filter((d) => !d.landed_at);
        const last = slowest(of);
        const late = of.some((d) => missed(d, at));
        return (
          <div key={zone}>
            <h2>
              Yesterday, {day} ({zone}), {open.length === 0 ? 'is complete' : 'is not complete yet'}
            </h2>
            <p class="muted">
              {open.length === 0 ? `Landed ${landingWords(last, at)} ${zone}.` : `Waiting for ${open.map((d) => d.stream + waits(d, at)).join('; ')}.`}{' '}
              {last.deadline_at ? (
                <span class={late || atRisk(last) ? 'bad' : ''}>
                  Deadline: {deadlineWords(last, at)}
                  {atRisk(last) && !late ? ', at risk' : ''}.
                </span>
              ) : null}{' '}
              <a href={`/days/${day}`}>How it went</a>
            </p>
          </div>
        );
      })}
    </section>
  );
}

function waits(d: Day, at: number): string {
  const eta = d.eta_to ? `${landingWords(d, at)} ${d.zone}` : '';
  const why = [d.note, eta].filter(Boolean).join(', ');
  return why ? ` (${why})` : '';
}

/** the day that landed last, or has not; of those that have not the one that is due first, else lands last */
function slowest(of: Day[]): Day {
  const rank = (d: Day) => (d.landed_at ? Date.parse(d.landed_at) : d.eta_to ? Date.parse(d.eta_to) : Infinity);
  const due = of.filter((d) => d.deadline_at);
  return (due.length > 0 ? due : of).reduce((a, b) => (rank(b) > rank(a) ? b : a));
}

function StreamCard({ s, at, live, views }: { s: StreamStatus; at: number; live: number | null | undefined; views: View[] }) {
  const completeTo = s.complete_to ? Date.parse(s.complete_to) : null;
  return (
    <section class="card stream" aria-label={`stream ${s.name}`}>
      <header>
        <h2>{s.name}</h2>
        <span class="chip">
          {completeTo === null
            ? 'nothing complete yet'
            : `complete to ${date(completeTo, 'UTC') === date(at, 'UTC') ? '' : date(completeTo, 'UTC') + ' '}${clock(completeTo, 'UTC')} UTC · lag ${duration(Math.max(0, at - completeTo))}`}
        </span>
      </header>
      <dl class="facts">
        <div>
          <dt>now</dt>
          <dd>{rate(live)}</dd>
        </div>
        <div>
          <dt>accepted</dt>
          <dd title={exact(s.conservation.accepted)}>{short(s.conservation.accepted)}</dd>
        </div>
        <div>
          <dt>dead letters</dt>
          <dd title={exact(s.conservation.dead)}>{short(s.conservation.dead)}</dd>
        </div>
      </dl>
      <ul class="links">
        {views.map((v) => (
          <li key={v.name}>
            <a href={`/explore/${v.name}${v.dimensions[0] ? `?by=${v.dimensions[0].name}` : ''}`}>{v.display_name ?? v.name}</a>
            <span class="muted"> {v.description}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** accepted = lake + dead letters + duplicates + in flight, and nothing else */
function Conserved({ status }: { status: Status }) {
  const c = sum(status.streams.map((s) => s.conservation));
  const shown = parts.filter((p) => c[p.key] > 0 || p.key === 'rows');
  let x = 0;
  return (
    <section class="card conserved" aria-label="where every accepted event is">
      <header>
        <h2>Where every accepted event is</h2>
        <span class={c.ok && c.lost === 0 ? 'chip good' : 'chip bad'}>{c.ok && c.lost === 0 ? 'adds up' : c.lost > 0 ? `${exact(c.lost)} lost` : 'does not add up'}</span>
      </header>
      <svg class="sumbar" viewBox="0 0 1000 10" preserveAspectRatio="none" height="10" aria-hidden="true">
        {shown.map((p) => {
          const w = c.accepted > 0 ? (1000 * c[p.key]) / c.accepted : 0;
          const from = x;
          x += w;
          return <rect key={p.key} class={`part-${p.key}`} x={from} width={w} height="10" />;
        })}
      </svg>
      <dl class="facts">
        <div>
          <dt>accepted</dt>
          <dd>{exact(c.accepted)}</dd>
        </div>
        {shown.map((p, i) => (
          <div key={p.key}>
            <dt>
              <span class={`key part-${p.key}`} /> {i === 0 ? '= ' : '+ '}
              {p.label}
            </dt>
            <dd>{exact(c[p.key])}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
