// Days: which are complete, when each landed, and what an open one waits for.
import { duration, exact, short } from './format';
import { useAnswer } from './hooks';
import { useLive } from './live';
import { go } from './router';
import { atRisk, deadlineWords, landingWords, missed, type Day, type Status } from './status';
import { clock, date, lastDays } from './time';
import { Instead } from './ui';

const words: Record<string, string> = {
  complete: 'complete',
  revised: 'complete, and events that came late were added since',
  late: 'its deadline was missed',
  waiting: 'over, but not everything has arrived in lake and live yet',
  open: 'still open',
  none: 'nothing is recorded: there was no server, or no stream',
};
const marks: Record<string, string> = { complete: '●', revised: '◎', late: '!', waiting: '◐', open: '○', none: '·' };

const long = 86_400_000;

/** what a day is shown as */
export function look(d: Day, now: number): string {
  if (missed(d, now)) return 'late';
  return d.revised ? 'revised' : d.state;
}

export function Days() {
  const live = useLive();
  const { data, problem } = useAnswer<{ days: Day[] }>('/v1/days', live.status);
  const status = useAnswer<Status>('/v1/status', live.status, 2000);
  if (!data) return <main class="wide"><Instead state={problem ? 'error' : 'loading'} problem={problem} /></main>;
  const days = data.body.days;
  const streams = [...new Set([...days.map((d) => d.stream), ...(status.data?.body.streams ?? []).map((s) => s.name)])].sort();
  const dates = lastDays(data.at, 60);
  const today = dates.at(-1);
  const of = new Map(days.map((d) => [`${d.stream} ${d.date}`, d]));
  return (
    <main class="wide">
      <div class="title">
        <h1>Days</h1>
        <p class="muted">The last 60 days, UTC. A day is complete when everything that was answered before its end is in the lake and in the live numbers.</p>
      </div>
      {streams.length === 0 ? <div class="card"><div class="instead">There is no stream yet.</div></div> : null}
      {streams.map((s) => (
        <section class="card days" key={s} aria-label={`days of ${s}`}>
          <h2>{s}</h2>
          <p class="muted">
            {dates[0]} – {today}
          </p>
          <div class="day-grid">
            {dates.map((d) => {
              const known = of.get(`${s} ${d}`);
              const state = known ? look(known, data.at) : d === today ? 'open' : 'none';
              return (
                <a key={d} class={`day day-${state}`} href={`/days/${d}`} title={`${d}: ${words[state] ?? state}${known?.note ? `; ${known.note}` : ''}`} aria-label={`${d}: ${words[state] ?? state}`}>
                  {marks[state] ?? '?'}
                </a>
              );
            })}
          </div>
        </section>
      ))}
      {streams.length > 0 ? (
        <>
          <ul class="legend flush">
            {Object.keys(words).map((w) => (
              <li key={w}>
                <span class={`day day-${w}`}>{marks[w]}</span> {w}
              </li>
            ))}
          </ul>
          {days.length > 0 ? <DayTable days={days} now={data.at} /> : <p class="muted">No day has ended since this server began: the first one will be told of here.</p>}
        </>
      ) : null}
    </main>
  );
}

function DayTable({ days, now }: { days: Day[]; now: number }) {
  const sorted = [...days].sort((a, b) => b.date.localeCompare(a.date) || a.stream.localeCompare(b.stream));
  return (
    <div class="card table-wrap" tabIndex={0} role="region" aria-label="landings">
      <table>
        <caption>When each day landed</caption>
        <thead>
          <tr>
            <th scope="col">day</th>
            <th scope="col">stream</th>
            <th scope="col">state</th>
            <th scope="col" class="num">complete</th>
            <th scope="col">landed</th>
            <th scope="col">deadline</th>
            <th scope="col" class="num">late events</th>
            <th scope="col">note</th>
          </tr>
        </thead>
        <tbody>
          {sorted.map((d) => (
            <tr key={d.stream + d.zone + d.date}>
              <th scope="row">
                <a href={`/days/${d.date}`}>{d.date}</a> <span class="muted">{d.zone}</span>
              </th>
              <td>{d.stream}</td>
              <td>
                <span class={`day day-${look(d, now)}`}>{marks[look(d, now)] ?? '?'}</span> {d.state}
              </td>
              <td class="num">{d.complete === null || d.complete === undefined ? '' : `${Math.floor(1000 * d.complete) / 10}%`}</td>
              <td>{landingWords(d, now)}</td>
              <td class={missed(d, now) || atRisk(d) ? 'bad' : ''}>
                {deadlineWords(d, now)}
                {atRisk(d) && !missed(d, now) ? ' (risk)' : ''}
              </td>
              <td class="num">{d.late_events === null || d.late_events === undefined ? '' : exact(d.late_events)}</td>
              <td class="wrap">{d.note}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function afterEnd(d: Day): string {
  if (!d.landed_at || d.zone !== 'UTC') return '';
  return duration(Date.parse(d.landed_at) - (Date.parse(d.date) + long));
}

export function DayPage({ day }: { day: string }) {
  const live = useLive();
  const days = useAnswer<{ days: Day[] }>(`/v1/days/${encodeURIComponent(day)}`, live.status);
  const status = useAnswer<Status>('/v1/status', live.status, 2000);
  if (!days.data) return <main class="wide"><Instead state={days.problem ? 'error' : 'loading'} problem={days.problem} /></main>;
  const at = Date.parse(day);
  return (
    <main class="wide">
      <div class="title">
        <p class="muted">
          <a href="/days">Days</a> /
        </p>
        <h1>{day}</h1>
        <p class="muted">
          <button class="quiet" onClick={() => go(`/days/${date(at - long, 'UTC')}`)}>
            ← the day before
          </button>
          <button class="quiet" onClick={() => go(`/days/${date(at + long, 'UTC')}`)}>
            the day after →
          </button>
        </p>
      </div>
      {days.data.body.days.length === 0 ? <div class="card"><div class="instead">Nothing is recorded of this day.</div></div> : null}
      <div class="streams">
        {days.data.body.days.map((d) => (
          <Gates key={d.stream + d.zone} d={d} at={days.data?.at ?? 0} status={status.data?.body ?? null} />
        ))}
      </div>
    </main>
  );
}

/** what must hold for a day to be complete, in order; the first that does not is what it waits for */
function Gates({ d, at, status }: { d: Day; at: number; status: Status | null }) {
  const s = status?.streams.find((x) => x.name === d.stream);
  const behind = (s?.partitions ?? []).map((p) => ({ at: `${p.topic}/${p.partition}`, by: Math.max(p.live?.lag ?? 0, p.batch?.lag ?? 0) })).filter((p) => p.by > 0);
  const gates: { ok: boolean; what: string; why: string }[] = [
    { ok: !!d.cut_at, what: 'The day is over, its grace too, and where it ends in the log is noted', why: 'events of this day may still arrive on time' },
    {
      ok: !!d.landed_at,
      what: 'Lake and live have everything up to there',
      why: d.note ? d.note : behind.length > 0 ? behind.map((p) => `${p.at} is ${short(p.by)} records behind`).join(', ') : 'waiting for what was in the log when the day ended',
    },
    { ok: s?.conservation.ok ?? false, what: 'Every accepted event is accounted for', why: s ? 'the counts do not add up' : 'the status is not there yet' },
  ];
  const first = gates.findIndex((g) => !g.ok);
  return (
    <section class="card stream" aria-label={`${d.stream} on ${d.date}`}>
      <header>
        <h2>{d.stream}</h2>
        <span class={d.state === 'complete' ? 'chip good' : 'chip'}>{words[d.state] ?? d.state}</span>
      </header>
      <ol class="gates">
        {gates.map((g, i) => (
          <li key={g.what} class={g.ok ? 'ok' : i === first ? 'blocker' : 'later'}>
            {g.what}
            {!g.ok && i === first ? <span class="muted"> – {g.why}</span> : null}
          </li>
        ))}
      </ol>
      {d.deadline_at ? (
        <p class={missed(d, at) ? 'bad' : 'muted'}>
          Deadline {date(Date.parse(d.deadline_at), d.zone)} {clock(Date.parse(d.deadline_at), d.zone, false)} {d.zone}: {deadlineWords(d, at)}.
        </p>
      ) : null}
      {d.late_events ? <p class="muted">{exact(d.late_events)} events came after its end and grace{d.revised ? ' and were added' : ''}.</p> : null}
      <p class="muted">{d.landed_at ? `Landed ${landingWords(d, at)} ${d.zone}${afterEnd(d) ? `, ${afterEnd(d)} after the day's end` : ''}.` : d.eta_to ? `Not landed yet, ${landingWords(d, at)} ${d.zone}.` : 'Not landed yet.'}</p>
    </section>
  );
}
