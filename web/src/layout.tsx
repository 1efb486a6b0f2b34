// What surrounds every page: names, places, the state of the connection, the list of keys.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { logOut, type View } from './api';
import type { Dashboard } from './dashboard';
import { useAnswer, useKeys } from './hooks';
import { useLive } from './live';
import { go } from './router';
import { lost } from './sse';

const keys: [string, string][] = [
  ['g t', 'Today'],
  ['g e', 'Explore'],
  ['g d', 'Dashboards'],
  ['g l', 'Live'],
  ['g c', 'Catalogue'],
  ['g y', 'Days'],
  ['g b', 'Back-fills'],
  ['g w', 'Where is my event?'],
  ['g s', 'System'],
  ['/', 'find a value'],
  ['d  w  m', 'last 24 hours, 7 days, 30 days'],
  ['←  →', 'shift the range; in a chart: read the values'],
  ['drag', 'zoom into a chart; Back goes out again'],
  ['v', 'table or charts'],
  ['x', 'compare with the period before'],
  ['p', 'pause or go on'],
  ['Esc', 'clear the filters'],
  ['?', 'this list'],
];

export function Layout({ views, dashboards, path, children }: { views: View[]; dashboards: Dashboard[]; path: string; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const explore = () => {
    const v = views[0];
    if (v) go(`/explore/${v.name}`);
  };
  useKeys({
    'g t': () => go('/'),
    'g e': explore,
    'g d': () => dashboards[0] && go(`/dashboards/${dashboards[0].name}`),
    'g l': () => go('/live'),
    'g c': () => go('/catalogue'),
    'g y': () => go('/days'),
    'g b': () => go('/backfills'),
    'g w': () => go('/where'),
    'g s': () => go('/system'),
    '?': () => dialog.current?.showModal(),
  });
  return (
    <>
      <a class="skip" href="#content">
        to the content
      </a>
      <nav class="top" aria-label="pages">
        <a class="brand" href="/">
          <Mark /> pinflow
        </a>
        <a href="/" aria-current={path === '/' ? 'page' : undefined}>
          Today
        </a>
        <Menu label="Explore" at="/explore/" path={path} items={views} />
        <Menu label="Dashboards" at="/dashboards/" path={path} items={dashboards} />
        {places.map(([to, label]) => (
          <a key={to} href={to} aria-current={path === to || path.startsWith(to + '/') ? 'page' : undefined}>
            {label}
          </a>
        ))}
        <span class="spring" />
        <Session />
        <Connection />
        <button class="quiet" onClick={() => dialog.current?.showModal()} title="keys (?)" aria-label="list of keys">
          ?
        </button>
      </nav>
      <div id="content">{children}</div>
      <dialog ref={dialog} aria-label="keys">
        <form method="dialog">
          <h2>Keys</h2>
          <dl class="keys">
            {keys.map(([k, what]) => (
              <div key={k}>
                <dt>
                  <kbd>{k}</kbd>
                </dt>
                <dd>{what}</dd>
              </div>
            ))}
          </dl>
          <button class="toggle">Close</button>
        </form>
      </dialog>
    </>
  );
}

const places = [
  ['/live', 'Live'],
  ['/catalogue', 'Catalogue'],
  ['/days', 'Days'],
  ['/backfills', 'Back-fills'],
  ['/system', 'System'],
] as const;

/** the pages of one sort: a link when there is one, else a menu */
function Menu({ label, at, path, items }: { label: string; at: string; path: string; items: { name: string; display_name?: string }[] }) {
  const box = useRef<HTMLDetailsElement>(null);
  const here = path.startsWith(at);
  const only = items[0];
  if (!only) return null;
  if (items.length === 1) {
    return (
      <a href={at + only.name} aria-current={here ? 'page' : undefined}>
        {label}
      </a>
    );
  }
  return (
    <details class="menu places" ref={box}>
      <summary aria-current={here ? 'page' : undefined}>{label}</summary>
      <div class="menu-body">
        {items.map((x) => (
          <a key={x.name} class="quiet" href={at + x.name} aria-current={path === at + x.name ? 'page' : undefined} onClick={() => box.current?.removeAttribute('open')}>
            {x.display_name ?? x.name}
          </a>
        ))}
      </div>
    </details>
  );
}

function Mark() {
  return (
    <svg width="20" height="20" viewBox="0 0 32 32" aria-hidden="true">
      <path d="M5 20 12 12l5 4 10-10" fill="none" stroke="currentColor" stroke-width="3.5" stroke-linecap="round" stroke-linejoin="round" />
      <path d="M5 27h22" stroke="currentColor" stroke-width="2.5" stroke-dasharray="3 4" stroke-linecap="round" />
    </svg>
  );
}

/** with which key somebody is in, and the way out; nothing where no key is asked for */
function Session() {
  const { data } = useAnswer<{ key: { id: string; name: string; scopes: string[] } | null }>('/v1/session', 0);
  const key = data?.body.key;
  if (!key) return null;
  return (
    <button class="quiet" onClick={() => void logOut()} title={`logged in with key ${key.name || key.id}: ${key.scopes.join(', ')}`}>
      Log out
    </button>
  );
}

/** is the page connected; when not, when it tries again */
function Connection() {
  const { machine } = useLive();
  const [now, set] = useState(Date.now());
  useEffect(() => {
    if (machine.phase !== 'waiting') return;
    const t = setInterval(() => set(Date.now()), 500);
    return () => clearInterval(t);
  }, [machine.phase]);
  const seconds = Math.max(0, Math.ceil((machine.retryAt - now) / 1000));
  const words: Record<string, string> = {
    open: 'connected',
    connecting: lost(machine) ? 'disconnected, trying again…' : 'connecting…',
    waiting: `disconnected, next try in ${seconds} s`,
    off: 'not connected',
  };
  return (
    <span class={lost(machine) ? 'connection lost' : 'connection'} role="status">
      <span class={machine.phase === 'open' ? 'dot on' : lost(machine) ? 'dot bad' : 'dot'} />
      <span class="words">{words[machine.phase]}</span>
    </span>
  );
}
