// The server's answers, and how they are fetched. Shapes are those of /openapi.json.
import type { Format } from './format';
import type { Grain } from './time';

export interface Dimension {
  name: string;
  display_name?: string;
  description?: string;
  type?: string;
  unnest?: boolean;
}

export interface Measure {
  name: string;
  display_name?: string;
  description?: string;
  agg?: string; // count, sum, …; ratio
  format?: Format;
  unit?: string;
  type?: string;
  numerator?: string;
  denominator?: string;
}

export interface View {
  name: string;
  display_name?: string;
  description?: string;
  owner?: string;
  stream: string;
  time_zone: string;
  grain: Grain;
  version: string;
  state: string;
  dimensions: Dimension[];
  measures: Measure[];
}

export interface Coverage {
  from: string;
  to: string;
  source: string; // lake | live | missing | backfilling
  reason?: string;
}

export interface Meta {
  complete_to?: string | null;
  as_of?: string;
  from?: string;
  to?: string;
  grain?: string;
  time_zone?: string;
  versions?: Record<string, string>;
  coverage?: Coverage[];
  approx?: Record<string, number>;
  revised?: { from?: string; time?: string; late?: number }[];
  partial?: { time: string; since: string }[]; // buckets of which only what came since a moment is there
  warnings?: (string | { message: string })[];
  earliest?: string | null;
  other?: { label: string; groups: number };
}

export interface Column {
  name: string;
  kind?: string; // time | dimension | measure
  type?: string;
}

export interface Answer {
  columns: (string | Column)[];
  rows: unknown[][];
  points?: { state?: string[] };
  meta: Meta;
}

/** an answer with the server's clock at the moment it was given */
export interface Fetched<T> {
  body: T;
  at: number; // server time, milliseconds
  etag: string | null;
}

/** what the server said of a failed request, problem+json */
export class Problem extends Error {
  constructor(
    readonly status: number, // 0: no answer
    readonly code: string,
    readonly detail: string,
    readonly requestId = '',
  ) {
    super(detail);
  }

  /** whether the same request may succeed later */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** parameters of /v1/query, in the order they are shown to people */
export interface Query {
  view: string;
  measures: string[];
  by?: string[];
  f?: string;
  from: string;
  to: string;
  grain?: string;
  tz?: string;
  order?: string;
  limit?: number;
}

export function queryString(q: Query, format?: 'csv'): string {
  const p: [string, string][] = [['view', q.view]];
  if (q.measures.length > 0) p.push(['measures', q.measures.join(',')]);
  if (q.by && q.by.length > 0) p.push(['by', q.by.join(',')]);
  if (q.f) p.push(['f', q.f]);
  p.push(['from', q.from], ['to', q.to]);
  if (q.grain) p.push(['grain', q.grain]);
  if (q.tz) p.push(['tz', q.tz]);
  if (q.order) p.push(['order', q.order]);
  if (q.limit) p.push(['limit', String(q.limit)]);
  if (format) p.push(['format', format]);
  return p.map(([k, v]) => `${k}=${encodeURIComponent(v).replace(/%2C/g, ',').replace(/%3A/g, ':').replace(/%2F/g, '/')}`).join('&');
}

/** gets JSON; a failure of any sort is a Problem, except the caller's own abort */
export async function get<T>(path: string, signal?: AbortSignal): Promise<Fetched<T>> {
  let r: Response;
  try {
    r = await fetch(path, { headers: { Accept: 'application/json' }, ...(signal ? { signal } : {}) });
  } catch (e) {
    if (e instanceof DOMException && e.name === 'AbortError') throw e;
    throw new Problem(0, 'unreachable', 'The server does not answer.');
  }
  if (!r.ok) throw await problemOf(r);
  const stamp = r.headers.get('Pinflow-Time') ?? r.headers.get('Date');
  const at = stamp ? Date.parse(stamp) : NaN;
  return { body: (await r.json()) as T, at: Number.isNaN(at) ? Date.now() : at, etag: r.headers.get('ETag') };
}

let leaving = false;

// Back may bring this very page again, as it was when it left
const stay = (e: PageTransitionEvent) => {
  if (e.persisted) leaving = false;
};

/** the session ended, or its key was revoked: the log-in leads back here */
export function toLogin(): void {
  if (leaving) return; // every request is refused at about the same time, and a second departure aborts the first
  leaving = true;
  addEventListener('pageshow', stay);
  location.assign(`/login?to=${encodeURIComponent(location.pathname + location.search)}`);
}

/** ends the session and goes to the log-in */
export async function logOut(): Promise<void> {
  try {
    await fetch('/v1/session', { method: 'DELETE' });
  } catch {
    // the log-in does not answer either, and the browser says so
  }
  leaving = true;
  addEventListener('pageshow', stay);
  location.assign('/login');
}

/** posts nothing to an address that does something; a failure is a Problem */
export async function post(path: string): Promise<void> {
  let r: Response;
  try {
    r = await fetch(path, { method: 'POST', headers: { Accept: 'application/json' } });
  } catch {
    throw new Problem(0, 'unreachable', 'The server does not answer.');
  }
  if (!r.ok) throw await problemOf(r);
}

async function problemOf(r: Response): Promise<Problem> {
  try {
    const p = (await r.json()) as { code?: string; detail?: string; title?: string; request_id?: string };
    return new Problem(r.status, p.code ?? 'error', p.detail ?? p.title ?? r.statusText, p.request_id);
  } catch {
    return new Problem(r.status, 'error', `The server answered ${r.status} ${r.statusText}`.trim() + '.');
  }
}
