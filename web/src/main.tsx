import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import 'uplot/dist/uPlot.min.css';
import './style.css';
import './panels.css';
import './pages.css';
import type { View } from './api';
import { BackfillPage, Backfills } from './backfills';
import { Catalogue, CatalogueView } from './catalogue';
import { DashboardPage, type Dashboard } from './dashboard';
import { DayPage, Days } from './days';
import { Explore } from './explore';
import { useAnswer } from './hooks';
import { Layout } from './layout';
import { LiveContext, useStream } from './live';
import { usePlace } from './router';
import { System } from './system';
import { Tail } from './tail';
import { Today } from './today';
import { useMenus } from './toolbar';
import { Instead } from './ui';
import { Where } from './where';

function App() {
  const place = usePlace();
  const live = useStream('/v1/events-stream');
  const views = useAnswer<{ views: View[] }>('/v1/views', live.status);
  useMenus();
  const dashboards = useAnswer<{ dashboards: Dashboard[] }>('/v1/dashboards', live.status);
  const list = views.data?.body.views ?? [];
  const boards = dashboards.data?.body.dashboards ?? [];
  const [, section = '', rest = ''] = /^\/([^/]*)(?:\/([^/]+))?\/?$/.exec(place.path) ?? [];
  const name = decode(rest);
  const view = section === 'explore' ? list.find((v) => v.name === name) : undefined;
  const title = view ? (view.display_name ?? view.name) : section === 'dashboards' ? (boards.find((b) => b.name === name)?.display_name ?? name) : [section, name].filter(Boolean).join(' ');
  useEffect(() => {
    document.title = title ? `${title} · pinflow` : 'pinflow';
  }, [title]);

  let page = <Missing path={place.path} views={list} />;
  if (place.path === '/') page = <Today views={list} />;
  else if (section === 'days') page = name ? <DayPage key={name} day={name} /> : <Days />;
  else if (section === 'backfills') page = name ? <BackfillPage key={name} id={name} /> : <Backfills />;
  else if (section === 'live' && !name) page = <Tail search={place.search} />;
  else if (section === 'system' && !name) page = <System />;
  else if (section === 'where' && !name) page = <Where search={place.search} views={list} />;
  else if (!views.data && ['explore', 'dashboards', 'catalogue'].includes(section)) page = <main><Instead state={views.problem ? 'error' : 'loading'} problem={views.problem} /></main>;
  else if (view) page = <Explore key={view.name} view={view} search={place.search} />;
  else if (section === 'dashboards' && name) page = <DashboardPage key={name} name={name} views={list} search={place.search} />;
  else if (section === 'catalogue') page = name ? <CatalogueView key={name} name={name} views={list} search={place.search} /> : <Catalogue views={list} />;
  return (
    <LiveContext.Provider value={live}>
      <Layout views={list} dashboards={boards} path={place.path}>
        {page}
      </Layout>
    </LiveContext.Provider>
  );
}

/** a path's part as text; what cannot be decoded stays as it is */
function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function Missing({ path, views }: { path: string; views: View[] }) {
  return (
    <main class="today">
      <h1>Nothing here</h1>
      <p>
        <code>{path}</code> is not a page. There are <a href="/">Today</a>
        {views.map((v) => (
          <>
            , <a href={`/explore/${v.name}`}>{v.display_name ?? v.name}</a>
          </>
        ))}
        .
      </p>
    </main>
  );
}

const root = document.getElementById('app');
if (root) render(<App />, root);
