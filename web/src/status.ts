// The parts of /v1/status and /v1/days that the page shows.
import type { Audit } from './audit';
import { duration, exact } from './format';
import { clock, date } from './time';

export interface Conservation {
  accepted: number;
  rows: number;
  dead: number;
  duplicates: number;
  gaps: number;
  lost: number;
  in_flight: number;
  uncommitted?: number;
  ok: boolean;
}

/** how far a unit has read a partition */
export interface UnitStatus {
  position: number;
  lag?: number | null;
}

export interface PartitionStatus {
  log: number;
  topic: string;
  partition: number;
  dead: boolean;
  closed: boolean;
  import?: string; // of a file's log: running | stopped | ended
  end?: number | null;
  lake: number;
  live: UnitStatus | null;
  batch: UnitStatus | null;
  conservation: Conservation;
}

export interface StreamStatus {
  name: string;
  complete_to: string | null;
  schema?: number;
  conservation: Conservation;
  partitions?: PartitionStatus[];
  views?: { name: string; audit: Audit | null }[];
}

export interface Status {
  at: string;
  ok: boolean;
  problems: string[];
  streams: StreamStatus[];
  leases?: { name: string; holder: string; number: number; expires: string }[];
  ledger?: { open_writes: number; uncommitted_files: number; segments: Record<string, number>; segment_bytes: number };
}

export interface Day {
  stream: string;
  date: string;
  zone: string;
  state: string; // open | waiting | complete
  cut_at?: string | null;
  landed_at?: string | null;
  eta_from?: string; // of a waiting day: when it lands if it goes on like this
  eta_to?: string;
  totals?: Record<string, unknown>;
  complete?: number | null; // 0-1
  deadline_at?: string | null;
  late_events?: number | null;
  revised?: boolean;
  note?: string;
}

/** where a log ends, or why nobody can tell: a file's log has no end before all of it is read */
export function endWords(p: Pick<PartitionStatus, 'end' | 'closed' | 'import'>): string {
  if (p.end !== null && p.end !== undefined) return exact(p.end);
  if (p.import === 'running') return 'being imported';
  if (p.import === 'stopped') return 'import stopped';
  if (p.closed) return p.import ? 'imported' : 'closed';
  return 'no answer';
}

/** how a day stands to its deadline: 48 min early, 2 h late, due in 3 h; '' without one */
export function deadlineWords(d: Day, now: number): string {
  if (!d.deadline_at) return '';
  const due = Date.parse(d.deadline_at);
  if (d.landed_at) {
    const by = due - Date.parse(d.landed_at);
    return by >= 0 ? `${duration(by)} early` : `${duration(-by)} late`;
  }
  return due >= now ? `due in ${duration(due - now)}` : `missed ${duration(now - due)} ago`;
}

/** when it landed, or between which moments it will; '–' while nobody can tell */
export function landingWords(d: Day, now: number): string {
  const day = (ms: number, ref: number) => (date(ms, d.zone) === date(ref, d.zone) ? '' : `${date(ms, d.zone)} `);
  if (d.landed_at) {
    const ms = Date.parse(d.landed_at);
    return `${date(ms, d.zone)} ${clock(ms, d.zone)}`;
  }
  if (!d.eta_from || !d.eta_to) return '–';
  const [from, to] = [Date.parse(d.eta_from), Date.parse(d.eta_to)];
  return `ETA ${day(from, now)}${clock(from, d.zone, false)}–${day(to, from)}${clock(to, d.zone, false)}`;
}

/** whether a day that waits will miss its deadline if it goes on like this */
export function atRisk(d: Day): boolean {
  return !d.landed_at && !!d.deadline_at && !!d.eta_to && Date.parse(d.eta_to) > Date.parse(d.deadline_at);
}

/** whether its deadline was or is missed */
export function missed(d: Day, now: number): boolean {
  return !!d.deadline_at && (d.landed_at ? Date.parse(d.landed_at) : now) > Date.parse(d.deadline_at);
}

/** parts of the conservation bar, in order; their sum is what was accepted */
export const parts: { key: Exclude<keyof Conservation, 'accepted' | 'ok' | 'uncommitted'>; label: string }[] = [
  { key: 'rows', label: 'in the lake' },
  { key: 'dead', label: 'dead letters' },
  { key: 'duplicates', label: 'duplicates' },
  { key: 'in_flight', label: 'in flight' },
  { key: 'gaps', label: 'gaps' },
  { key: 'lost', label: 'lost' },
];

export function sum(list: Conservation[]): Conservation {
  const out: Conservation = { accepted: 0, rows: 0, dead: 0, duplicates: 0, gaps: 0, lost: 0, in_flight: 0, ok: true };
  for (const c of list) {
    out.accepted += c.accepted;
    for (const p of parts) out[p.key] += c[p.key];
    out.ok &&= c.ok;
  }
  return out;
}
