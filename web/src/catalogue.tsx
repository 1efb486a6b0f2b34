// Catalogue: what views there are, how fresh each is, and, of one, its definition with every version.
import type { Answer, View } from './api';
import { queryString } from './api';
import type { Audit } from './audit';
import { AuditCard } from './audit';
import { lines as diffLines } from './diff';
import { short } from './format';
import { useAnswer } from './hooks';
import { useLive } from './live';
import { clock, date } from './time';
import { CopyButton, Instead } from './ui';
import { Comparison } from './versions';

export function Catalogue({ views }: { views: View[] }) {
  return (
    <main class="wide">
      <div class="title">
        <h1>Catalogue</h1>
        <p class="muted">{views.length === 1 ? 'One metrics view.' : `${views.length} metrics views.`} Numbers are of the last hour.</p>
      </div>
      <div class="card table-wrap" tabIndex={0} role="region" aria-label="metrics views">
        <table>
          <thead>
            <tr>
              <th scope="col">view</th>
              <th scope="col">description</th>
              <th scope="col">owner</th>
              <th scope="col">stream</th>
              <th scope="col" class="num">last hour</th>
              <th scope="col">complete to</th>
              <th scope="col">history from</th>
              <th scope="col">version</th>
            </tr>
          </thead>
          <tbody>
            {views.map((v) => (
              <Row key={v.name} v={v} />
            ))}
          </tbody>
        </table>
      </div>
    </main>
  );
}

function Row({ v }: { v: View }) {
  const live = useLive();
  const first = v.measures[0];
  const path = first ? '/v1/query?' + queryString({ view: v.name, measures: [first.name], from: 'now-1h', to: 'now' }) : '';
  const { data, problem } = useAnswer<Answer>(path, live.ticks[v.stream]?.n ?? 0, 2000);
  const meta = data?.body.meta;
  const value = data?.body.rows[0]?.[0];
  return (
    <tr>
      <th scope="row">
        <a href={`/catalogue/${v.name}`}>{v.display_name ?? v.name}</a>
      </th>
      <td class="wrap">{v.description}</td>
      <td>{v.owner}</td>
      <td>{v.stream}</td>
      <td class="num">{problem ? <span title={problem.detail}>–</span> : data ? `${short(value === null || value === undefined ? null : Number(value), first?.format)} ${first?.unit ?? first?.name ?? ''}` : '…'}</td>
      <td>{when(meta?.complete_to)}</td>
      <td>{meta?.earliest ? when(meta.earliest) : meta ? 'no data yet' : ''}</td>
      <td>
        <code>{v.version.slice(0, 8)}</code>
        {v.state === 'serving' ? '' : ` ${v.state}`}
      </td>
    </tr>
  );
}

function when(text: string | null | undefined): string {
  if (!text) return '–';
  const ms = Date.parse(text);
  return `${date(ms, 'UTC')} ${clock(ms, 'UTC')} UTC`;
}

interface Version {
  id: number;
  hash: string;
  state: string;
  schema: number;
  created_at: string;
  definition: unknown;
}

export function CatalogueView({ name, views, search }: { name: string; views: View[]; search: string }) {
  const live = useLive();
  const view = useAnswer<View & { definition?: unknown; sql?: Record<string, string>; kernel_only?: string[]; audit?: Audit }>(`/v1/views/${encodeURIComponent(name)}`, live.status);
  const versions = useAnswer<{ versions: Version[] }>(`/v1/views/${encodeURIComponent(name)}/versions`, live.status);
  if (!view.data) {
    return (
      <main class="wide">
        <Instead state={view.problem ? 'error' : 'loading'} problem={view.problem} />
        {view.problem?.status === 404 ? <p class="muted">There are {views.map((v) => v.name).join(', ')}.</p> : null}
      </main>
    );
  }
  const v = view.data.body;
  const text = JSON.stringify(v.definition ?? {}, null, 2);
  return (
    <main class="wide">
      <div class="title">
        <p class="muted">
          <a href="/catalogue">Catalogue</a> /
        </p>
        <h1>{v.display_name ?? v.name}</h1>
        <p class="muted">
          {v.description} {v.owner ? `· ${v.owner}` : ''} · of stream {v.stream} · days begin in {v.time_zone} · kept by {v.grain}
        </p>
        <p>
          <a href={`/explore/${v.name}`}>Explore</a> · <a href="/backfills">back-fills</a>
        </p>
      </div>
      <div class="card table-wrap">
        <table>
          <caption>Measures</caption>
          <thead>
            <tr>
              <th scope="col">name</th>
              <th scope="col">aggregate</th>
              <th scope="col">type</th>
              <th scope="col">shown as</th>
              <th scope="col">unit</th>
              <th scope="col">description</th>
            </tr>
          </thead>
          <tbody>
            {v.measures.map((m) => (
              <tr key={m.name}>
                <th scope="row">{m.name}</th>
                <td>{m.agg === 'ratio' ? `${m.numerator} / ${m.denominator}` : m.agg}</td>
                <td>{m.type}</td>
                <td>{m.format}</td>
                <td>{m.unit}</td>
                <td class="wrap">{m.description}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div class="card table-wrap">
        <table>
          <caption>Dimensions</caption>
          <tbody>
            {v.dimensions.map((d) => (
              <tr key={d.name}>
                <th scope="row">{d.name}</th>
                <td>{d.type}</td>
                <td class="wrap">
                  {d.description} {d.unnest ? 'An event counts once under each of its values.' : ''}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <AuditCard view={name} audit={v.audit} />
      <Comparison view={v} versions={versions.data?.body.versions ?? []} search={search} />
      <Versions list={versions.data?.body.versions ?? []} />
      <section class="card code">
        <header>
          <h2>Definition in force</h2>
          <CopyButton label="Copy" text={() => text} />
        </header>
        <pre tabIndex={0}>{text}</pre>
      </section>
      {Object.entries(v.sql ?? {}).map(([dialect, sql]) => (
        <section class="card code" key={dialect}>
          <header>
            <h2>As SQL for {dialect}</h2>
            <CopyButton label="Copy" text={() => sql} />
          </header>
          <pre tabIndex={0}>{sql}</pre>
        </section>
      ))}
      {v.kernel_only && v.kernel_only.length > 0 ? (
        <section class="card code">
          <h2>No SQL says this view exactly</h2>
          <ul>
            {v.kernel_only.map((why) => (
              <li key={why}>{why}</li>
            ))}
          </ul>
        </section>
      ) : null}
    </main>
  );
}

function Versions({ list }: { list: Version[] }) {
  if (list.length === 0) return null;
  return (
    <section class="card code">
      <header>
        <h2>Versions</h2>
        <span class="muted">newest first</span>
      </header>
      <ol class="versions">
        {list.map((x, i) => {
          const older = list[i + 1];
          return (
            <li key={x.id}>
              <code>{x.hash.slice(0, 8)}</code> <b class={`state state-${x.state}`}>{x.state}</b> <span class="muted">since {when(x.created_at)} · schema {x.schema}</span>
              {older ? <Diff a={JSON.stringify(older.definition, null, 2)} b={JSON.stringify(x.definition, null, 2)} /> : <p class="muted">The first one.</p>}
            </li>
          );
        })}
      </ol>
    </section>
  );
}

function Diff({ a, b }: { a: string; b: string }) {
  const all = diffLines(a, b);
  if (all.every((l) => l.mark === ' ')) return <p class="muted">The same definition, counted anew.</p>;
  return (
    <pre class="diff" tabIndex={0} aria-label="difference to the version before">
      {all.map((l, i) => (
        <div key={i} class={l.mark === '+' ? 'added' : l.mark === '-' ? 'removed' : ''}>
          {l.mark} {l.text}
        </div>
      ))}
    </pre>
  );
}
