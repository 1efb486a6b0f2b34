// The client of /v1/events-stream. The machine is a pure function; Stream is its hands.
// fetch, not EventSource: it tells why a connection failed and sends Last-Event-ID to a new one.
import { toLogin } from './api';

export type Phase = 'off' | 'connecting' | 'open' | 'waiting';

export interface Machine {
  phase: Phase;
  lastId: string;
  attempt: number; // failures since the last event
  retryAt: number; // when waiting
  heardAt: number; // last byte, when open
}

export type Input =
  | { type: 'start' }
  | { type: 'stop' }
  | { type: 'opened' }
  | { type: 'heard'; id?: string } // an event or a heartbeat
  | { type: 'failed' } // refused, broken off or ended
  | { type: 'tick' };

export type Effect = 'connect' | 'disconnect' | null;

/** a server that says nothing, not even a heartbeat, for this long is gone */
export const silence = 20_000;
const retryBase = 500;
const retryMax = 15_000;

export const initial: Machine = { phase: 'off', lastId: '', attempt: 0, retryAt: 0, heardAt: 0 };

/** whether the connection is lost, also while it is being tried again */
export function lost(m: Machine): boolean {
  return m.phase === 'waiting' || (m.phase === 'connecting' && m.attempt > 0);
}

/** next state and what to do. random in [0,1) spreads the reconnects of many tabs. */
export function step(m: Machine, input: Input, now: number, random: number): [Machine, Effect] {
  switch (input.type) {
    case 'start':
      return m.phase === 'off' ? [{ ...m, phase: 'connecting', attempt: 0 }, 'connect'] : [m, null];
    case 'stop':
      return m.phase === 'off' ? [m, null] : [{ ...m, phase: 'off' }, 'disconnect'];
    case 'opened':
      return m.phase === 'connecting' ? [{ ...m, phase: 'open', heardAt: now }, null] : [m, null];
    case 'heard': {
      if (m.phase !== 'open') return [m, null];
      return [{ ...m, heardAt: now, attempt: 0, lastId: input.id || m.lastId }, null];
    }
    case 'failed':
      if (m.phase !== 'open' && m.phase !== 'connecting') return [m, null];
      return [waiting(m, now, random), 'disconnect'];
    case 'tick':
      if (m.phase === 'waiting' && now >= m.retryAt) return [{ ...m, phase: 'connecting' }, 'connect'];
      if (m.phase === 'open' && now - m.heardAt > silence) return [waiting(m, now, random), 'disconnect'];
      return [m, null];
  }
}

function waiting(m: Machine, now: number, random: number): Machine {
  const delay = Math.min(retryMax, retryBase * 2 ** m.attempt) * (0.5 + random / 2);
  return { ...m, phase: 'waiting', attempt: m.attempt + 1, retryAt: now + delay };
}

export interface Event {
  event: string;
  id: string;
  data: string;
}

/** splits a text/event-stream into events; comments come out as nothing */
export class Parser {
  private rest = '';

  push(chunk: string): Event[] {
    const blocks = (this.rest + chunk).split(/\r?\n\r?\n/);
    this.rest = blocks.pop() ?? '';
    return blocks.map(parseBlock).filter((e): e is Event => e !== null);
  }
}

function parseBlock(block: string): Event | null {
  const e: Event = { event: 'message', id: '', data: '' };
  let any = false;
  for (const line of block.split(/\r?\n/)) {
    const m = /^(event|id|data): ?(.*)$/.exec(line);
    if (!m) continue;
    any = true;
    if (m[1] === 'data') e.data += (e.data ? '\n' : '') + (m[2] ?? '');
    else if (m[1] === 'event') e.event = m[2] ?? '';
    else e.id = m[2] ?? '';
  }
  return any ? e : null;
}

/** one connection, kept up until stop */
export class Stream {
  private m: Machine = initial;
  private abort: AbortController | null = null;
  private timer: ReturnType<typeof setInterval> | undefined;

  constructor(
    private readonly path: string,
    private readonly onEvent: (e: Event) => void,
    private readonly onPhase: (m: Machine) => void,
  ) {}

  start(): void {
    this.timer ??= setInterval(() => this.apply({ type: 'tick' }), 250);
    this.apply({ type: 'start' });
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    this.apply({ type: 'stop' });
  }

  private apply(input: Input): void {
    const before = this.m;
    const [m, effect] = step(before, input, Date.now(), Math.random());
    this.m = m;
    if (effect === 'disconnect') this.abort?.abort();
    if (effect === 'connect') void this.connect();
    if (m.phase !== before.phase) this.onPhase(m);
  }

  private async connect(): Promise<void> {
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    const send = (input: Input) => {
      if (!abort.signal.aborted) this.apply(input);
    };
    try {
      const headers: Record<string, string> = { Accept: 'text/event-stream' };
      if (this.m.lastId) headers['Last-Event-ID'] = this.m.lastId;
      const r = await fetch(this.path, { headers, signal: abort.signal, cache: 'no-store' });
      if (r.status === 401) toLogin();
      if (!r.ok || !r.body) return send({ type: 'failed' });
      send({ type: 'opened' });
      const parser = new Parser();
      const reader = r.body.pipeThrough(new TextDecoderStream() as unknown as ReadableWritablePair<string, Uint8Array>).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        send({ type: 'heard' });
        for (const e of parser.push(value)) {
          if (abort.signal.aborted) return;
          send({ type: 'heard', id: e.id });
          if (e.event !== 'heartbeat') this.onEvent(e);
        }
      }
      send({ type: 'failed' });
    } catch {
      send({ type: 'failed' });
    }
  }
}
