import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import 'uplot/dist/uPlot.min.css';
import './style.css';
import './panels.css';
import type { View } from './api';
import { Explore } from './explore';
import { useAnswer } from './hooks';
import { Layout } from './layout';
import { LiveContext, useStream } from './live';
import { usePlace } from './router';
import { Today } from './today';
import { useMenus } from './toolbar';
import { Instead } from './ui';

function App() {
  const place = usePlace();
  const live = useStream('/v1/events-stream');
  const views = useAnswer<{ views: View[] }>('/v1/views', live.status);
  useMenus();
  const list = views.data?.body.views ?? [];
  const explored = /^\/explore\/([^/]+)\/?$/.exec(place.path)?.[1];
  const view = explored === undefined ? undefined : list.find((v) => v.name === decodeURIComponent(explored));
  useEffect(() => {
    document.title = view ? `${view.display_name ?? view.name} · pinflow` : 'pinflow';
  }, [view]);

  let page;
  if (place.path === '/') page = <Today views={list} />;
  else if (explored !== undefined && view) page = <Explore key={view.name} view={view} search={place.search} />;
  else if (explored !== undefined && !views.data) page = <main><Instead state={views.problem ? 'error' : 'loading'} problem={views.problem} /></main>;
  else page = <Missing path={place.path} views={list} />;
  return (
    <LiveContext.Provider value={live}>
      <Layout views={list} path={place.path}>
        {page}
      </Layout>
    </LiveContext.Provider>
  );
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
