// The one event stream of a tab, shared by everything on the page.
import { createContext } from 'preact';
import { useContext, useEffect, useState } from 'preact/hooks';
import { initial, Stream, type Machine } from './sse';

/** what the server pushes when a stream or its views changed */
export interface Tick {
  stream: string;
  views: string[];
  seal: number;
  complete_to?: string | null;
  rate: number | null; // events a second; null until it is known
  lag_ms: number | null;
}

export interface Live {
  machine: Machine;
  ticks: Record<string, { n: number; last: Tick }>; // by stream
  status: number; // counts status events
}

export const LiveContext = createContext<Live>({ machine: initial, ticks: {}, status: 0 });

export const useLive = () => useContext(LiveContext);

/** opens the stream for as long as the component lives; hidden tabs let go of it */
export function useStream(path: string): Live {
  const [live, set] = useState<Live>({ machine: initial, ticks: {}, status: 0 });
  useEffect(() => {
    const stream = new Stream(
      path,
      (e) => {
        if (e.event === 'status') set((l) => ({ ...l, status: l.status + 1 }));
        if (e.event !== 'tick') return;
        const last = JSON.parse(e.data) as Tick;
        set((l) => ({ ...l, ticks: { ...l.ticks, [last.stream]: { n: (l.ticks[last.stream]?.n ?? 0) + 1, last } } }));
      },
      (machine) => set((l) => ({ ...l, machine })),
    );
    const visible = () => (document.hidden ? stream.stop() : stream.start());
    visible();
    document.addEventListener('visibilitychange', visible);
    return () => {
      document.removeEventListener('visibilitychange', visible);
      stream.stop();
    };
  }, [path]);
  return live;
}
