// Live: what comes to a stream, as it comes. When there is more than can be read, the server sends a
// sample and says so.
import { useEffect, useRef, useState } from 'preact/hooks';
import { exact } from './format';
import { useAnswer, useKeys } from './hooks';
import { useLive } from './live';
import { go } from './router';
import { initial, lost, Stream, type Machine } from './sse';
import type { Status } from './status';
import { clock } from './time';
import { Instead, Notices } from './ui';

export interface Tailed {
  partition: number;
  offset: number;
  id?: string;
  received_at: string;
  event?: unknown;
  text?: string;
  dead_lettered?: { code: string; path: string; message: string };
}

/** rows that are kept on the page */
const kept = 300;

/** the newest first, no more than are kept */
export function keep(rows: Tailed[], fresh: Tailed[]): Tailed[] {
  return [...fresh.slice().reverse(), ...rows].slice(0, kept);
}

export function Tail({ search }: { search: string }) {
  const p = new URLSearchParams(search);
  const status = useAnswer<Status>('/v1/status', 0);
  const streams = status.data?.body.streams.map((s) => s.name) ?? [];
  if (!status.data) return <main class="wide"><Instead state={status.problem ? 'error' : 'loading'} problem={status.problem} /></main>;
  const wanted = p.get('stream');
  const notices: string[] = [];
  for (const key of p.keys()) if (!['stream', 'q'].includes(key)) notices.push(`The address has a parameter “${key}” that this page does not know.`);
  if (wanted !== null && !streams.includes(wanted)) notices.push(`stream=${wanted}: there is no stream of that name. There are ${streams.join(', ')}.`);
  const stream = wanted !== null && streams.includes(wanted) ? wanted : (streams[0] ?? '');
  return <Watch key={stream} stream={stream} streams={streams} q={p.get('q') ?? ''} notices={notices} />;
}

function Watch({ stream, streams, q, notices }: { stream: string; streams: string[]; q: string; notices: string[] }) {
  const live = useLive();
  const [paused, pause] = useState(false);
  const [rows, set] = useState<Tailed[]>([]);
  const [sampled, sample] = useState<{ shown: number; of: number; at: number } | null>(null);
  const [machine, setMachine] = useState<Machine>(initial);
  const findBox = useRef<HTMLInputElement>(null);
  const [typed, type] = useState(q); // each event draws the page anew: what is being typed must not go with it
  useEffect(() => type(q), [q]);
  const path = `/v1/streams/${encodeURIComponent(stream)}/tail${q ? `?contains=${encodeURIComponent(q)}` : ''}`;

  useEffect(() => {
    if (paused || stream === '') return;
    const waiting: Tailed[] = [];
    const source = new Stream(
      path,
      (e) => {
        if (e.event === 'event') waiting.push(JSON.parse(e.data) as Tailed);
        if (e.event === 'sampled') sample({ ...(JSON.parse(e.data) as { shown: number; of: number }), at: Date.now() });
      },
      setMachine,
    );
    const redraw = setInterval(() => {
      const fresh = waiting.splice(0);
      if (fresh.length > 0) set((r) => keep(r, fresh));
      sample((s) => (s && Date.now() - s.at > 3000 ? null : s));
    }, 250);
    source.start();
    return () => {
      clearInterval(redraw);
      source.stop();
    };
  }, [path, paused, stream]);

  const move = (to: { stream?: string; q?: string }) => {
    const next = new URLSearchParams();
    const s = to.stream ?? stream;
    const text = to.q ?? q;
    if (s !== streams[0]) next.set('stream', s);
    if (text) next.set('q', text);
    set([]);
    go('/live' + (next.size > 0 ? `?${next.toString()}` : ''), to.q !== undefined);
  };
  useKeys({
    p: () => pause(!paused),
    '/': () => findBox.current?.focus(),
    Escape: () => {
      findBox.current?.blur();
      if (q) move({ q: '' });
    },
  });

  return (
    <main class="wide">
      <div class="title">
        <h1>Live</h1>
        <p class="muted">
          What comes to a stream and to its dead letters, newest first, from now on. A position leads to the event's journey; <a href="/where">find one by its id</a>.
        </p>
      </div>
      <Notices list={notices} />
      <div class="toolbar">
        <label class="field">
          stream
          <select value={stream} onChange={(e) => move({ stream: e.currentTarget.value })}>
            {streams.map((s) => (
              <option key={s} value={s}>
                {s}
              </option>
            ))}
          </select>
        </label>
        <input ref={findBox} class="find narrow" type="search" placeholder="Only events that contain  /" aria-label="only events that contain" value={typed} onInput={(e) => type(e.currentTarget.value)} onChange={(e) => move({ q: e.currentTarget.value })} />
        <div class="tools">
          <button class="toggle" onClick={() => set([])}>
            Clear
          </button>
          <button class="toggle live" aria-pressed={!paused} onClick={() => pause(!paused)} title="pause or go on (p)">
            {paused ? 'Paused' : 'Live'}
          </button>
        </div>
      </div>
      {sampled && !paused ? (
        <p class="note warn" role="status">
          This is a sample: {exact(sampled.shown)} of the {exact(sampled.of)} events of the last second are shown. A filter lets you see all of those that it takes.
        </p>
      ) : null}
      {lost(machine) ? (
        <p class="note bad" role="alert">
          The tail is lost and is being tried again.
        </p>
      ) : null}
      <div class="card table-wrap tail" tabIndex={0} role="region" aria-label={`events of ${stream}`}>
        {rows.length === 0 ? (
          <div class="instead">{stream === '' ? 'There is no stream yet.' : paused ? 'Paused.' : q ? 'No event that contains this has come yet.' : `Waiting for events. ${live.ticks[stream]?.last.rate ? '' : 'None comes at the moment.'}`}</div>
        ) : (
          <table>
            <thead>
              <tr>
                <th scope="col">received (UTC)</th>
                <th scope="col">partition/offset</th>
                <th scope="col">event</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((r) => (
                <Row key={`${r.dead_lettered ? 'd' : ''}${r.partition}/${r.offset}`} r={r} />
              ))}
            </tbody>
          </table>
        )}
      </div>
    </main>
  );
}

function Row({ r }: { r: Tailed }) {
  const [open, set] = useState(false);
  const text = r.event === undefined ? (r.text ?? '') : JSON.stringify(r.event, null, open ? 2 : undefined);
  return (
    <tr class={r.dead_lettered ? 'dead' : ''}>
      <td>{clock(Date.parse(r.received_at), 'UTC')}</td>
      <td>
        {r.dead_lettered ? 'dead ' : ''}
        {r.id ? (
          <a href={`/where?id=${encodeURIComponent(r.id)}`} title={`where is event ${r.id}?`}>
            {r.partition}/{r.offset}
          </a>
        ) : (
          `${r.partition}/${r.offset}`
        )}
      </td>
      <td class="wrap">
        {r.dead_lettered ? (
          <div class="bad">
            <b>{r.dead_lettered.code}</b> {r.dead_lettered.path} {r.dead_lettered.message}
          </div>
        ) : null}
        <button class={open ? 'event open' : 'event'} aria-expanded={open} onClick={() => set(!open)} title={open ? 'close' : 'show all of it'}>
          {text}
        </button>
      </td>
    </tr>
  );
}
