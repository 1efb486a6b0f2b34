// Where is my event? The journey of one event: received, durable in the log, in the lake, and in which
// buckets it counts, or why not. The address is the question: ?id=… or ?at=topic/partition/offset.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { View } from './api';
import { duration, exact } from './format';
import { useAnswer, useBeat, useKeys } from './hooks';
import { go } from './router';
import { bucketLabel, clock, date, iso, next } from './time';
import { Instead, Notices } from './ui';

export interface Trace {
  id: string;
  records: Found[];
  searched: {
    tables: { table: string; files_opened: number; files_read: number }[];
    logs: { topic: string; partition: number; from: number; to: number; note?: string }[];
  };
}

export interface Found {
  as: 'row' | 'dead_letter' | 'duplicate' | 'in_flight';
  stream: string;
  topic?: string;
  log: number;
  partition: number;
  offset: number;
  received_at: string;
  event_time?: string;
  dead_lettered?: { code: string; path?: string; message?: string };
  lake?: { table: string; file: string; snapshot: string; committed_at?: string };
  staged?: boolean;
  live?: { position: number; read: boolean };
  views?: Counted[];
}

export interface Counted {
  view: string;
  version: string;
  buckets: string[];
  by: 'live' | 'history';
  counted: boolean;
  why?: string;
}

/** what is asked for */
export interface Wanted {
  kind: 'id' | 'at';
  text: string;
}

/** reads the address; what it does not know is told */
export function wanted(search: string): { wanted: Wanted; notices: string[] } {
  const p = new URLSearchParams(search);
  const notices: string[] = [];
  for (const key of new Set(p.keys())) if (!['id', 'at'].includes(key)) notices.push(`The address has a parameter “${key}” that this page does not know.`);
  const id = p.get('id') ?? '';
  const at = p.get('at') ?? '';
  if (id !== '' && at !== '') notices.push('The address has an id and a position: the id is looked for.');
  if (id !== '' || at === '') return { wanted: { kind: 'id', text: id }, notices };
  if (position(at) === null) notices.push(`at=${at} is no position: write it like pin/0/1234.`);
  return { wanted: { kind: 'at', text: at }, notices };
}

/** topic, partition and offset of a position, or null when it is none */
export function position(text: string): [string, string, string] | null {
  const m = /^([^/]+)\/(\d+)\/(\d+)$/.exec(text.trim());
  return m ? [m[1] ?? '', m[2] ?? '', m[3] ?? ''] : null;
}

/** the address of what is asked for */
export function address(w: Wanted): string {
  return w.text === '' ? '/where' : `/where?${w.kind}=${encodeURIComponent(w.text).replace(/%2F/g, '/').replace(/%3A/g, ':')}`;
}

/** the request that answers it; '' when there is nothing to ask */
export function request(w: Wanted): string {
  if (w.text === '') return '';
  if (w.kind === 'id') return `/v1/events/${encodeURIComponent(w.text)}/trace`;
  const p = position(w.text);
  return p ? `/v1/records/${p.map(encodeURIComponent).join('/')}/trace` : '';
}

/** whether a record's journey goes on: what is shown of it will soon be more */
export function moving(r: Found): boolean {
  return r.as === 'in_flight' || r.live?.read === false || (r.views ?? []).some((v) => !v.counted && v.buckets.length > 0);
}

export function Where({ search, views }: { search: string; views: View[] }) {
  const { wanted: w, notices } = wanted(search);
  const path = request(w);
  const beat = useBeat(1000);
  const [again, look] = useState(0);
  const [tick, set] = useState(0);
  const answer = useAnswer<Trace>(path, tick, 500);
  const t = answer.path === path ? answer.data : null;
  const goesOn = (t?.body.records ?? []).some(moving);
  useEffect(() => {
    if (goesOn) set((n) => n + 1);
  }, [beat]);
  useEffect(() => {
    if (again > 0) set((n) => n + 1);
  }, [again]);
  return (
    <main class="wide where">
      <div class="title">
        <h1>Where is my event?</h1>
        <p class="muted">From the moment it was received to the buckets that it counts in, or why it does not.</p>
      </div>
      <Notices list={notices} />
      <Ask key={w.kind + w.text} w={w} again={() => look(again + 1)} />
      {path === '' ? (
        <p class="muted">
          The answer to a post names the id of each event (<code>?results=all</code>), the column <code>_event_id</code> of the lake has it, and the positions in <a href="/live">Live</a> lead here.
        </p>
      ) : !t ? (
        <div class="card">
          <Instead state={answer.problem ? 'error' : 'loading'} problem={answer.problem} />
        </div>
      ) : (
        <>
          {answer.problem ? (
            <p class="note bad" role="alert">
              {answer.problem.detail} What is shown is of {clock(t.at, 'UTC')} UTC.
            </p>
          ) : null}
          <Outcome t={t.body} at={t.at} />
          {t.body.records.map((r) => (
            <Journey key={`${r.log}/${r.partition}/${r.offset}`} r={r} views={views} at={t.at} />
          ))}
          <Searched t={t.body} />
        </>
      )}
    </main>
  );
}

/** the question: an id or a position */
function Ask({ w, again }: { w: Wanted; again: () => void }) {
  const [kind, pick] = useState(w.kind);
  const [typed, type] = useState(w.text);
  const box = useRef<HTMLInputElement>(null);
  useKeys({
    '/': () => box.current?.focus(),
    Escape: () => {
      box.current?.blur();
      if (w.text) go('/where');
    },
  });
  const bad = kind === 'at' && typed.trim() !== '' && position(typed) === null;
  const submit = (e: Event) => {
    e.preventDefault();
    if (bad) return;
    const to = address({ kind, text: kind === 'at' ? typed.trim() : typed });
    if (to === address(w)) again();
    else go(to);
  };
  return (
    <form class="toolbar" role="search" onSubmit={submit}>
      <label class="field">
        look for
        <select value={kind} onChange={(e) => pick(e.currentTarget.value === 'at' ? 'at' : 'id')}>
          <option value="id">an event id</option>
          <option value="at">a position</option>
        </select>
      </label>
      <input
        ref={box}
        class="find narrow"
        type="search"
        placeholder={kind === 'id' ? 'Event id  /' : 'topic/partition/offset  /'}
        aria-label={kind === 'id' ? 'event id' : 'topic/partition/offset'}
        aria-invalid={bad}
        value={typed}
        onInput={(e) => type(e.currentTarget.value)}
      />
      <button class="toggle">{w.text !== '' && typed === w.text && kind === w.kind ? 'Look again' : 'Find'}</button>
      {bad ? (
        <span class="bad" role="status">
          Write it like pin/0/1234.
        </span>
      ) : null}
    </form>
  );
}

/** in one sentence */
function Outcome({ t, at }: { t: Trace; at: number }) {
  const n = t.records.length;
  const rows = t.records.filter((r) => r.as === 'row').length;
  const notes = t.searched.logs.filter((l) => l.note);
  const counts = t.records.some((r) => (r.views ?? []).some((v) => v.counted));
  return (
    <section class={counts ? 'card needs fine' : n === 0 || t.records.some((r) => r.dead_lettered) ? 'card needs' : 'card searched'} aria-label="what was found" aria-live="polite">
      <h2>{n === 0 ? `No event ${t.id} was found` : sentence(t.records)}</h2>
      {n === 0 ? (
        <p>
          Compare the id with the answer to its post: what was answered “rejected”, or with 4xx or 503, is stored nowhere. An event that was accepted is found at once, before it reaches the lake.
        </p>
      ) : (
        <p class="muted">
          <code class="id">{t.id}</code> · {n === 1 ? 'one record' : `${n} records`}
          {rows > 1 ? `: sent again outside its stream's dedup window, or to another partition, it counts ${rows} times` : ''} · as of {clock(at, 'UTC')} UTC
          {t.records.some(moving) ? ' · being watched' : ''}
        </p>
      )}
      {notes.map((l) => (
        <p key={`${l.topic}/${l.partition}`} class="bad">
          {l.topic}/{l.partition}: {l.note}.
        </p>
      ))}
    </section>
  );
}

function sentence(records: Found[]): string {
  if (records.some((r) => (r.views ?? []).some((v) => v.counted))) return 'It is in the lake and counts';
  if (records.some((r) => r.as === 'row')) return 'It is in the lake and counts in no view';
  if (records.some((r) => r.as === 'in_flight' && !r.dead_lettered)) return 'It is durable in the log, on its way to the lake';
  return 'It is a dead letter: kept, and counted in no view';
}

const kinds: Record<Found['as'], string> = { row: 'row', dead_letter: 'dead letter', duplicate: 'duplicate', in_flight: 'in flight' };

/** one record's way, step by step */
function Journey({ r, views, at }: { r: Found; views: View[]; at: number }) {
  const place = `${r.topic ?? `log ${r.log}`}/${r.partition}/${r.offset}`;
  const received = Date.parse(r.received_at);
  const dead = r.dead_lettered;
  return (
    <section class="card stream" aria-label={`record ${place}`}>
      <header>
        <h2>
          {r.stream} · <code>{place}</code>
        </h2>
        <span class={r.as === 'row' ? 'chip good' : dead ? 'chip bad' : 'chip'}>{kinds[r.as]}</span>
      </header>
      <ol class="gates">
        <Step state="ok" what="Received">
          {moment(received)}
          {r.event_time ? `; its own time is ${moment(Date.parse(r.event_time))}${apart(Date.parse(r.event_time), received)}` : ''}
        </Step>
        <Step state="ok" what="Durable">
          {r.topic === undefined ? `in log ${r.log}, which is a file that was imported: ` : `in topic ${r.topic}: `}
          partition {r.partition}, offset {exact(r.offset)}
        </Step>
        {dead ? (
          <Step state="blocker" what="Dead letter">
            <b>{dead.code}</b> {dead.path} {dead.message}
          </Step>
        ) : null}
        <InLake r={r} at={at} />
        {dead ? (
          <Step state="later" what="Counted nowhere">a dead letter is in no metric</Step>
        ) : r.as === 'duplicate' ? (
          <Step state="later" what="Counted nowhere">the same id lies earlier in this partition, and counts there</Step>
        ) : (
          <Counts r={r} views={views} />
        )}
      </ol>
    </section>
  );
}

function Step({ state, what, children }: { state: 'ok' | 'later' | 'blocker'; what: string; children: ComponentChildren }) {
  return (
    <li class={state}>
      <b>{what}</b> <span class="says">{children}</span>
    </li>
  );
}

function InLake({ r, at }: { r: Found; at: number }) {
  if (r.as === 'duplicate') return <Step state="later" what="Not in the lake">it repeats an earlier record, so it is counted as a duplicate and left out</Step>;
  if (!r.lake) {
    return (
      <Step state="later" what="Not in the lake yet">
        {r.staged ? 'the batch unit has read it, and its file waits for the next commit' : 'the batch unit has not read it yet'}; received {duration(Math.max(0, at - Date.parse(r.received_at)))} ago
      </Step>
    );
  }
  return (
    <Step state="ok" what="In the lake">
      table {r.lake.table}, snapshot <code>{r.lake.snapshot}</code>
      {r.lake.committed_at ? ` of ${moment(Date.parse(r.lake.committed_at))}` : ', which has expired since'}
      <code class="file">{r.lake.file}</code>
    </Step>
  );
}

/** the buckets of each view, or why there are none */
function Counts({ r, views }: { r: Found; views: View[] }) {
  const list = r.views ?? [];
  const read = r.live ? (r.live.read ? 'the live unit has read it' : `the live unit is at offset ${exact(r.live.position)}, before it`) : '';
  if (r.as === 'in_flight') {
    return (
      <Step state={r.live?.read ? 'ok' : 'later'} what={r.live?.read ? 'Read by the live unit' : 'Not read by the live unit yet'}>
        {r.live?.read ? 'the buckets that it counts in are named here when it is in the lake' : read}
      </Step>
    );
  }
  if (list.length === 0) return <Step state="later" what="Counted nowhere">no view is of stream {r.stream}</Step>;
  return (
    <>
      {list.map((v) => {
        const view = views.find((x) => x.name === v.view);
        return v.counted ? (
          <Step key={v.view} state="ok" what={`Counts in ${view?.display_name ?? v.view}`}>
            {v.buckets.map((b, i) => (
              <>
                {i > 0 ? ', ' : ''}
                <Bucket start={Date.parse(b)} view={view} name={v.view} />
              </>
            ))}
            <span class="muted">
              {' '}
              · by {v.by === 'live' ? 'the live unit' : 'history'}, version <code>{v.version.slice(0, 8)}</code>
            </span>
          </Step>
        ) : (
          <Step key={v.view} state={v.buckets.length > 0 ? 'later' : 'blocker'} what={`${v.buckets.length > 0 ? 'Does not count yet' : 'Does not count'} in ${view?.display_name ?? v.view}`}>
            {v.why}
          </Step>
        );
      })}
    </>
  );
}

/** a bucket by its view's grain and zone; it leads to Explore at that time */
function Bucket({ start, view, name }: { start: number; view: View | undefined; name: string }) {
  if (!view) return <>{moment(start)}</>;
  const to = next(start, view.grain, view.time_zone);
  return (
    <a href={`/explore/${name}?from=${iso(start)}&to=${iso(to)}&grain=${view.grain}`} title={`the ${view.grain} that begins then`}>
      {view.grain} {bucketLabel(start, view.grain, view.time_zone)} {view.time_zone}
    </a>
  );
}

function Searched({ t }: { t: Trace }) {
  const { tables, logs } = t.searched;
  return (
    <details class="card searched">
      <summary>Where was looked</summary>
      <ul>
        {tables.map((x) => (
          <li key={x.table}>
            table {x.table}: the filters of {exact(x.files_opened)} files were asked, {exact(x.files_read)} files were read
          </li>
        ))}
        {logs.map((l) => (
          <li key={`${l.topic}/${l.partition}/${l.from}`}>
            log {l.topic}/{l.partition}: offsets {exact(l.from)} to {exact(l.to - 1)}
          </li>
        ))}
      </ul>
    </details>
  );
}

function moment(ms: number): string {
  return `${date(ms, 'UTC')} ${clock(ms, 'UTC')} UTC`;
}

/** how long after, or before, its own time it was received, when that is worth a word */
function apart(own: number, received: number): string {
  const by = received - own;
  if (Math.abs(by) < 1000) return '';
  return by > 0 ? `, ${duration(by)} earlier` : `, ${duration(-by)} later`;
}
