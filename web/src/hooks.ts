// Preact hooks: answers that refresh, the theme, the one event stream, keyboard shortcuts.
import { useEffect, useRef, useState } from 'preact/hooks';
import { get, Problem, toLogin, type Fetched } from './api';
import { dark, light, type Theme } from './color';

/** at most four redraws a second */
export const redrawEvery = 250;

/** what may be over soon is tried again by itself */
const retryAfter = 3000;

export interface Loaded<T> {
  data: Fetched<T> | null; // newest answer for this path
  problem: Problem | null; // of the newest request
  fetching: boolean;
  path: string; // that the answer is of
}

/**
 * The answer for path, asked again when tick changes: one request at a time, never more often than
 * every so many milliseconds, and slower when the server is slow. A new path aborts the old request;
 * its answer stays until the new one is there. A negative tick stands still, an empty path asks nothing.
 */
export function useAnswer<T>(path: string, tick: number, every = redrawEvery): Loaded<T> {
  const [state, set] = useState<Loaded<T>>({ data: null, problem: null, fetching: true, path });
  const run = useRef({ path: '', busy: false, dirty: false, started: 0, took: 0, timer: 0, abort: new AbortController() });

  useEffect(() => {
    const r = run.current;
    const ask = async () => {
      clearTimeout(r.timer);
      r.busy = true;
      r.dirty = false;
      r.started = performance.now();
      const abort = (r.abort = new AbortController());
      let failed = false;
      set((s) => ({ ...s, fetching: true }));
      try {
        const data = await get<T>(path, abort.signal);
        if (abort.signal.aborted) return;
        set({ data, problem: null, fetching: false, path });
      } catch (e) {
        if (abort.signal.aborted) return;
        const problem = e instanceof Problem ? e : new Problem(0, 'bad_answer', 'The answer could not be read.');
        if (problem.status === 401) toLogin();
        failed = problem.passing;
        set((s) => ({ data: s.path === path ? s.data : null, problem, fetching: false, path }));
      }
      r.busy = false;
      r.took = performance.now() - r.started;
      if (failed) later(retryAfter);
      else if (r.dirty) later();
    };
    const later = (least = every) => {
      const wait = r.started + Math.max(least, 4 * r.took) - performance.now();
      clearTimeout(r.timer);
      r.timer = window.setTimeout(() => void ask(), Math.max(0, wait));
    };
    if (tick < 0) {
      clearTimeout(r.timer);
      r.dirty = false;
    }
    if (r.path !== path) {
      r.abort.abort();
      r.path = path;
      if (path === '') {
        clearTimeout(r.timer);
        set({ data: null, problem: null, fetching: false, path });
        return;
      }
      void ask();
    } else if (tick < 0) {
      return;
    } else if (r.busy) {
      r.dirty = true;
    } else {
      later();
    }
  }, [path, tick]);

  useEffect(() => {
    const r = run.current;
    return () => {
      clearTimeout(r.timer);
      r.abort.abort();
    };
  }, []);
  return state;
}

/** a number that grows every so many milliseconds while the page is looked at */
export function useBeat(every: number): number {
  const [n, set] = useState(0);
  useEffect(() => {
    const t = setInterval(() => {
      if (!document.hidden) set((n) => n + 1);
    }, every);
    return () => clearInterval(t);
  }, [every]);
  return n;
}

const query = window.matchMedia('(prefers-color-scheme: dark)');

/** the colours of the preference, for what is drawn on canvas */
export function useTheme(): Theme {
  const [isDark, set] = useState(query.matches);
  useEffect(() => {
    const change = () => set(query.matches);
    query.addEventListener('change', change);
    return () => query.removeEventListener('change', change);
  }, []);
  return isDark ? dark : light;
}

/** calls one of the handlers by key, or by two keys in a row (`g t`); not while somebody types */
export function useKeys(handlers: Record<string, (e: KeyboardEvent) => void>): void {
  const latest = useRef(handlers);
  latest.current = handlers;
  useEffect(() => {
    let before = '';
    let at = 0;
    const down = (e: KeyboardEvent) => {
      if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return;
      if (document.querySelector('dialog[open]')) return; // the keys are the dialog's
      const target = e.target as HTMLElement;
      const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName) || target.isContentEditable;
      if (typing && e.key !== 'Escape') return;
      const pair = performance.now() - at < 1000 ? `${before} ${e.key}` : '';
      const handler = latest.current[pair] ?? (before === 'g' && pair !== '' ? undefined : latest.current[e.key]);
      before = e.key;
      at = performance.now();
      if (handler) {
        e.preventDefault();
        handler(e);
      }
    };
    window.addEventListener('keydown', down);
    return () => window.removeEventListener('keydown', down);
  }, []);
}
