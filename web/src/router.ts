// The path is the thing, the query is the view.
import { useEffect, useState } from 'preact/hooks';

export interface Place {
  path: string;
  search: string;
}

const here = (): Place => ({ path: location.pathname, search: location.search });

const changed = 'pinflow:navigated';

/** goes to an address of this page; replace keeps the history short for small changes */
export function go(to: string, replace = false): void {
  if (to === location.pathname + location.search) return;
  if (replace) history.replaceState(null, '', to);
  else history.pushState(null, '', to);
  window.dispatchEvent(new Event(changed));
}

export function usePlace(): Place {
  const [place, set] = useState(here);
  useEffect(() => {
    const update = () => set(here());
    const click = (e: MouseEvent) => {
      const a = (e.target as Element).closest('a');
      if (!a || e.button !== 0 || e.ctrlKey || e.metaKey || e.shiftKey || a.target || a.origin !== location.origin) return;
      if (a.pathname.startsWith('/v1/') || /^\/(metrics|healthz|readyz|version|openapi\.json)$/.test(a.pathname)) return;
      e.preventDefault();
      go(a.pathname + a.search);
    };
    window.addEventListener('popstate', update);
    window.addEventListener(changed, update);
    document.addEventListener('click', click);
    return () => {
      window.removeEventListener('popstate', update);
      window.removeEventListener(changed, update);
      document.removeEventListener('click', click);
    };
  }, []);
  return place;
}
