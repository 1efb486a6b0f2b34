// System: partitions with how far each unit is, who holds which job, what the ledger keeps.
import { Audits } from './audit';
import { bytes, duration, exact, rate, short } from './format';
import { useAnswer } from './hooks';
import { useLive } from './live';
import { endWords, type Status, type StreamStatus } from './status';
import { clock } from './time';
import { Instead } from './ui';

export function System() {
  const live = useLive();
  const ticks = Object.values(live.ticks).reduce((n, t) => n + t.n, 0);
  const status = useAnswer<Status>('/v1/status', ticks + live.status, 1000);
  const version = useAnswer<Record<string, string>>('/version', 0);
  if (!status.data) return <main class="wide"><Instead state={status.problem ? 'error' : 'loading'} problem={status.problem} /></main>;
  const s = status.data.body;
  const at = status.data.at;
  return (
    <main class="wide">
      <div class="title">
        <h1>System</h1>
        <p class="muted">
          as of {clock(at, 'UTC')} UTC
          {version.data ? ` · pinflow ${version.data.body['version'] ?? ''}` : ''} · <a href="/metrics">metrics</a> · <a href="/readyz">readiness</a> · <a href="/where">find an event</a> · <a href="/openapi.json">API</a>
        </p>
      </div>
      <section class={s.ok ? 'card needs fine' : 'card needs'} aria-label="problems">
        <h2>{s.ok ? 'Nothing is wrong' : 'Needs you'}</h2>
        <ul>
          {s.problems.map((p) => (
            <li key={p}>{p}</li>
          ))}
        </ul>
      </section>
      {s.streams.map((x) => (
        <Partitions key={x.name} s={x} rate={live.ticks[x.name]?.last.rate ?? null} at={at} />
      ))}
      <Audits streams={s.streams} />
      <div class="streams">
        <section class="card stream">
          <h2>Ledger</h2>
          <dl class="facts">
            {Object.entries(s.ledger?.segments ?? {}).map(([tier, n]) => (
              <div key={tier}>
                <dt>segments by {tier}</dt>
                <dd>{exact(n)}</dd>
              </div>
            ))}
            <div>
              <dt>their size</dt>
              <dd>{bytes(s.ledger?.segment_bytes ?? 0)}</dd>
            </div>
            <div>
              <dt>files to commit</dt>
              <dd>{exact(s.ledger?.uncommitted_files ?? 0)}</dd>
            </div>
            <div>
              <dt>open writes</dt>
              <dd>{exact(s.ledger?.open_writes ?? 0)}</dd>
            </div>
          </dl>
        </section>
      </div>
      <div class="card table-wrap">
        <table>
          <caption>Jobs: each is done by one process at a time, which holds a lease</caption>
          <thead>
            <tr>
              <th scope="col">job</th>
              <th scope="col">holder</th>
              <th scope="col" class="num">number</th>
              <th scope="col">lease ends</th>
            </tr>
          </thead>
          <tbody>
            {(s.leases ?? []).map((l) => (
              <tr key={l.name}>
                <th scope="row">{l.name}</th>
                <td>{l.holder}</td>
                <td class="num">{l.number}</td>
                <td>{Date.parse(l.expires) < at ? 'over' : `in ${duration(Date.parse(l.expires) - at)}`}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </main>
  );
}

function Partitions({ s, rate: perSecond, at }: { s: StreamStatus; rate: number | null; at: number }) {
  const lag = s.complete_to ? duration(Math.max(0, at - Date.parse(s.complete_to))) : '–';
  return (
    <div class="card table-wrap" tabIndex={0} role="region" aria-label={`partitions of ${s.name}`}>
      <table>
        <caption>
          <b>{s.name}</b> · {rate(perSecond)} · lag {lag} · schema {s.schema}
        </caption>
        <thead>
          <tr>
            <th scope="col">partition</th>
            <th scope="col" class="num">end of the log</th>
            <th scope="col" class="num">live is behind by</th>
            <th scope="col" class="num">batch is behind by</th>
            <th scope="col" class="num">not committed yet</th>
            <th scope="col" class="num">rows</th>
            <th scope="col" class="num">dead letters</th>
            <th scope="col" class="num">duplicates</th>
            <th scope="col" class="num">lost</th>
            <th scope="col">adds up</th>
          </tr>
        </thead>
        <tbody>
          {(s.partitions ?? []).map((p) => (
            <tr key={`${p.log}/${p.topic}/${p.partition}`}>
              <th scope="row">
                {p.topic}/{p.partition}
                {p.closed && !p.import ? ' (closed)' : ''}
              </th>
              <td class="num">{endWords(p)}</td>
              <td class="num">{p.dead ? '' : short(p.live?.lag ?? null)}</td>
              <td class="num">{short(p.batch?.lag ?? null)}</td>
              <td class="num">{exact(p.conservation.uncommitted ?? 0)}</td>
              <td class="num">{exact(p.conservation.rows)}</td>
              <td class="num">{exact(p.conservation.dead)}</td>
              <td class="num">{exact(p.conservation.duplicates)}</td>
              <td class="num">{exact(p.conservation.lost)}</td>
              <td class={p.conservation.ok ? '' : 'bad'}>{p.conservation.ok ? 'yes' : 'no'}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
