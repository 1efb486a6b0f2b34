// What the background audit found: closed days of a view compared with the lake.
import { exact, short } from './format';
import type { StreamStatus } from './status';
import { clock, date } from './time';

export interface Audit {
  at: string;
  from: string;
  to: string;
  days: number;
  uncovered: number;
  rows: number;
  differences: number;
  wrong_days: number;
  wrong: { day: string; at: string; result: string; differences: number; first: string }[];
}

const moment = (text: string) => `${date(Date.parse(text), 'UTC')} ${clock(Date.parse(text), 'UTC')} UTC`;

/** the days that were looked at, first to last */
export function rangeWords(a: Audit): string {
  return a.from === a.to ? a.from : `${a.from} to ${a.to}`;
}

/** what is wrong with a day */
export function wrongWords(w: Audit['wrong'][number]): string {
  switch (w.result) {
    case 'damaged':
      return `${exact(w.differences)} segments cannot be read, first ${w.first}`;
    case 'failed':
      return `could not be compared: ${w.first}`;
    default:
      return `${exact(w.differences)} ${w.differences === 1 ? 'number differs' : 'numbers differ'}, first ${w.first}`;
  }
}

/** the card of a view's page */
export function AuditCard({ view, audit }: { view: string; audit?: Audit | null }) {
  return (
    <section class="card code" aria-label="audit">
      <header>
        <h2>Compared with the lake</h2>
        <span class="muted">{audit ? `last ${moment(audit.at)}` : ''}</span>
      </header>
      {audit ? (
        <>
          <dl class="facts">
            <div>
              <dt>closed days</dt>
              <dd>{exact(audit.days)}</dd>
            </div>
            <div>
              <dt>range</dt>
              <dd>{rangeWords(audit)}</dd>
            </div>
            <div>
              <dt>rows folded</dt>
              <dd>{short(audit.rows)}</dd>
            </div>
            <div>
              <dt>differences</dt>
              <dd class={audit.wrong_days > 0 ? 'bad' : ''}>{exact(audit.differences)}</dd>
            </div>
          </dl>
          {audit.uncovered > 0 ? <p class="muted">Of {exact(audit.uncovered)} of these days the view does not have all.</p> : null}
          <Wrong view={view} audit={audit} />
        </>
      ) : (
        <p class="muted">
          No closed day was looked at yet. Days are compared in the background when they are complete, one a minute; a view by another time than the event’s only by <code>pinflow audit</code>.
        </p>
      )}
    </section>
  );
}

function Wrong({ view, audit }: { view: string; audit: Audit }) {
  if (audit.wrong.length === 0) return null;
  const more = audit.wrong_days - audit.wrong.length;
  return (
    <div role="alert">
      <ul>
        {audit.wrong.map((w) => (
          <li key={w.day}>
            <b>{w.day}</b>: {wrongWords(w)}
          </li>
        ))}
        {more > 0 ? <li>and {exact(more)} more {more === 1 ? 'day' : 'days'}</li> : null}
      </ul>
      <p>
        All of it: <code>pinflow audit {view} --range {[...new Set([audit.wrong[audit.wrong.length - 1]?.day, audit.wrong[0]?.day])].join('..')}</code>. If the lake is right, build the view anew: <code>pinflow backfill start {view}</code>
      </p>
    </div>
  );
}

/** the table of the System page */
export function Audits({ streams }: { streams: StreamStatus[] }) {
  const views = streams.flatMap((s) => s.views ?? []);
  if (views.length === 0) return null;
  return (
    <div class="card table-wrap" tabIndex={0} role="region" aria-label="audits">
      <table>
        <caption>Audit: closed days of each view compared with the lake in the background</caption>
        <thead>
          <tr>
            <th scope="col">view</th>
            <th scope="col">last</th>
            <th scope="col" class="num">closed days</th>
            <th scope="col">range</th>
            <th scope="col" class="num">rows folded</th>
            <th scope="col" class="num">differences</th>
            <th scope="col">wrong days</th>
          </tr>
        </thead>
        <tbody>
          {views.map((v) => (
            <tr key={v.name}>
              <th scope="row">
                <a href={`/catalogue/${v.name}`}>{v.name}</a>
              </th>
              <td>{v.audit ? moment(v.audit.at) : 'no closed day yet'}</td>
              <td class="num">{exact(v.audit?.days ?? 0)}</td>
              <td>{v.audit ? rangeWords(v.audit) : ''}</td>
              <td class="num">{short(v.audit?.rows ?? 0)}</td>
              <td class="num">{exact(v.audit?.differences ?? 0)}</td>
              <td class={v.audit?.wrong_days ? 'bad' : ''}>{v.audit?.wrong_days ? `${v.audit.wrong.map((w) => w.day).join(', ')}${v.audit.wrong_days > v.audit.wrong.length ? ', …' : ''}` : ''}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
