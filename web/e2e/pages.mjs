// The pages beside Explore, against a running pinflow with events: each shows what it is for, in light,
// dark and narrow, by keys and by address.
//
// A back-fill of the view has to have been started (pinflow backfill start pins).
//
//   node e2e/pages.mjs --url http://127.0.0.1:8080 [--view pins] [--out DIR]
import { args, check, drawn, fits, moved, open, run, shot, until } from './browser.mjs';

/** visits a page, waits for what it must show, and looks at it in light, dark and narrow */
async function visit(name, path, wait) {
  const page = await open(path);
  await wait(page);
  await fits(page, name);
  await shot(page, `${name}-light`);
  await page.emulateMedia({ colorScheme: 'dark' });
  await shot(page, `${name}-dark`);
  await page.setViewportSize({ width: 390, height: 844 });
  await wait(page);
  await fits(page, `${name}, narrow,`);
  await shot(page, `${name}-narrow`);
  await page.context().close();
}

// leads repeats what a person would when nothing happened: a drag over a chart that is drawn anew in its
// middle is no zoom, and a second key that comes too late is no chord.
async function leads(page, path, act) {
  for (let tries = 1; ; tries++) {
    await act();
    try {
      return await page.waitForURL(path, { timeout: 8000 });
    } catch (err) {
      if (tries === 4) throw err;
    }
  }
}

async function compare() {
  const page = await open(`/explore/${args.view}?from=now-15m`);
  await moved(page, null);
  await page.keyboard.press('x');
  await page.waitForURL(/compare=prev/);
  await page.locator('.change').first().waitFor();
  await page.locator('.legend', { hasText: 'period before' }).first().waitFor();
  await drawn(page, 'the comparison');
  await shot(page, 'compare-light');
  await page.keyboard.press('x');
  await page.locator('.change').first().waitFor({ state: 'detached' });
  await page.waitForURL((url) => !/compare/.test(url.href));
  await page.context().close();
}

/** a brush zooms, Back goes out again */
async function brush() {
  const page = await open(`/explore/${args.view}?from=now-15m`);
  await moved(page, null);
  await leads(page, /from=2.*Z.*to=2.*Z/, async () => {
    const box = await page.locator('.plot').first().boundingBox();
    await page.mouse.move(box.x + box.width * 0.4, box.y + 40);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.8, box.y + 40, { steps: 5 });
    await page.mouse.up();
  });
  await page.locator('.plot canvas').first().waitFor();
  await page.goBack();
  await page.waitForURL(/from=now-15m/);
  await page.context().close();
}

async function keys() {
  const page = await open('/');
  await page.locator('section.stream').first().waitFor();
  for (const [key, path] of [['d', /\/dashboards\/\w+/], ['l', /\/live$/], ['c', /\/catalogue$/], ['y', /\/days$/], ['b', /\/backfills$/], ['s', /\/system$/], ['e', /\/explore\/\w+/], ['t', /:\d+\/$/]]) {
    await leads(page, path, async () => {
      await page.keyboard.press('g');
      await page.keyboard.press(key);
    });
  }
  await page.context().close();
}

/** what was answered in the past cannot be had from a young server: the days are those of a week's run */
const week = (now) =>
  Array.from({ length: 7 }, (_, i) => {
    const date = new Date(now - i * 86_400_000).toISOString().slice(0, 10);
    const end = new Date(Date.parse(date) + 86_400_000);
    const landed = new Date(end.getTime() + 660_000 + i * 90_000);
    const cut = new Date(end.getTime() + 645_000);
    const due = new Date(end.getTime() + (i === 3 ? 600_000 : 6 * 3_600_000));
    return ['pin', 'geo'].map((stream) => {
      const waits = i === 1 && stream === 'geo';
      return {
        stream, date, zone: 'UTC',
        state: i === 0 ? 'open' : waits ? 'waiting' : 'complete',
        complete: i === 0 ? 0.61 : waits ? 0.9998 : 1,
        cut_at: i === 0 ? null : cut, landed_at: i === 0 || waits ? null : landed,
        ...(waits ? { eta_from: new Date(now + 20 * 60_000), eta_to: new Date(now + 45 * 60_000) } : {}),
        deadline_at: due, late_events: i === 4 ? 1204 : 0, revised: i === 4,
        note: i === 0 ? 'live lag 1.2 s' : waits ? 'geo/1 is 12000 records behind in the lake' : i === 4 ? 'revised: 1204 events came late' : '',
      };
    });
  }).flat();

async function days() {
  const page = await open('/system');
  const all = week(Date.now());
  const answer = (list) => (route) => route.fulfill({ json: { days: list } });
  await page.route('**/v1/days', answer(all));
  await page.route('**/v1/days/*', answer(all.filter((d) => d.date === all[2].date)));
  await page.locator('.top a', { hasText: 'Days' }).click();
  await page.locator('.day-revised').first().waitFor();
  check((await page.locator('.day-grid').first().locator('.day').count()) === 60, 'there are not sixty days');
  check((await page.locator('a.day-complete').count()) >= 5 && (await page.locator('a.day-late').count()) >= 2, 'complete and missed days are not marked');
  await shot(page, 'days-light');
  await page.emulateMedia({ colorScheme: 'dark' });
  await shot(page, 'days-dark');
  await page.locator(`table a[href="/days/${all[2].date}"]`).first().click();
  await page.locator('.gates .blocker').first().waitFor();
  await shot(page, 'day-dark');
  await page.emulateMedia({ colorScheme: 'light' });
  await shot(page, 'day-light');
  await page.context().close();
}

/** a yesterday for each zone that days are kept in, with when one that waits will land */
async function today() {
  const page = await open('/system');
  const kolkata = week(Date.now() + 5.5 * 3_600_000).filter((d) => d.stream === 'pin').map((d) => ({ ...d, zone: 'Asia/Kolkata' }));
  await page.route('**/v1/days', (route) => route.fulfill({ json: { days: [...week(Date.now()), ...kolkata] } }));
  await page.locator('.top a', { hasText: 'Today' }).click();
  const card = page.locator('section.yesterday');
  await card.getByText(/Waiting for geo \(.*behind in the lake, ETA \d\d:\d\d–.*UTC\)/).waitFor();
  await card.getByText(/\(Asia\/Kolkata\), is complete/).waitFor();
  await fits(page, 'Today of two zones');
  await shot(page, 'today-zones-light');
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.setViewportSize({ width: 390, height: 844 });
  await fits(page, 'Today of two zones, narrow,');
  await shot(page, 'today-zones-narrow');
  await page.context().close();
}

/** what comes is shown as it comes, is filtered by the server, and stands still when paused */
async function tail() {
  const page = await open('/live?stream=pin');
  await page.locator('.tail tbody tr').nth(3).waitFor();
  await page.locator('.tail .event').first().click();
  await page.locator('.tail .event.open').first().waitFor();
  await page.keyboard.press('p');
  await page.locator('.toggle.live', { hasText: 'Paused' }).waitFor();
  await fits(page, 'Live');
  await shot(page, 'live-light');
  await page.keyboard.press('p');
  // what is typed stays while events come, each of which draws the page anew
  await page.locator('input[type=search]').fill('"category":"no such thing"');
  const newest = await page.locator('.tail tbody tr').first().innerText();
  await page.waitForFunction((old) => document.querySelector('.tail tbody tr')?.innerText !== old, newest);
  await page.locator('input[type=search]').press('Enter');
  await page.waitForURL(/q=/);
  await page.getByText('No event that contains this has come yet.').waitFor();
  await page.context().close();
  const dark = await open('/live?stream=nothing', { scheme: 'dark' });
  await dark.locator('.notice').waitFor();
  await dark.locator('.tail tbody tr').nth(3).waitFor();
  await shot(dark, 'live-dark');
  await dark.context().close();
}

/** the back-fill that whoever started this test has begun */
async function backfills() {
  const page = await open('/backfills');
  await page.locator('a[href="/backfills/1"]').waitFor();
  await page.getByRole('cell', { name: 'done' }).waitFor();
  await fits(page, 'Back-fills');
  await shot(page, 'backfills-light');
  await page.locator('a[href="/backfills/1"]').click();
  await page.locator('.day-done').first().waitFor();
  await page.getByText('a repair').waitFor();
  await shot(page, 'backfill-light');
  await page.getByRole('button', { name: 'rollback' }).click();
  await page.getByRole('button', { name: 'really rollback?' }).click();
  await page.getByText(/, standby · engine/).waitFor();
  await page.emulateMedia({ colorScheme: 'dark' });
  await shot(page, 'backfill-dark');
  await page.context().close();
  const view = await open(`/catalogue/${args.view}`);
  await view.locator('.versions li').nth(1).waitFor();
  await view.getByText('As SQL for duckdb').waitFor();
  await shot(view, 'view-versions');
  await view.context().close();
}

await run(async () => {
  await visit('dashboard', '/dashboards/growth', async (page) => {
    await page.locator('.panel[data-state="ok"], .panel[data-state="partial"]').first().waitFor();
    await page.locator('.plot canvas').first().waitFor();
    await until('the dashboard has its panels', async () => (await page.locator('.dash-row > .panel').count()) === 5);
    await drawn(page, 'the dashboard');
    await until('a chart fills its panel', () =>
      page.evaluate(() => {
        const [chart, panel] = ['.kind-bar .plot', '.kind-bar'].map((q) => document.querySelector(q)?.clientWidth ?? 0);
        return panel > 0 && chart > panel * 0.8 && chart <= panel;
      }));
    await page.locator('.ranking tbody tr').first().waitFor();
  });
  await visit('catalogue', '/catalogue', async (page) => {
    await page.locator(`a[href="/catalogue/${args.view}"]`).waitFor();
    await page.getByText(/\d+ pins/).first().waitFor();
  });
  await visit('view', `/catalogue/${args.view}`, (page) => page.locator('.code pre').first().waitFor());
  await visit('view-tags', '/catalogue/tags', (page) => page.getByText('An event counts once under each of its values.').waitFor());
  await visit('system', '/system', (page) => page.getByText('Nothing is wrong').waitFor());
  await visit('today', '/', (page) => page.locator('section.stream').first().waitFor());
  await days();
  await today();
  await tail();
  await backfills();
  await compare();
  await brush();
  await keys();
  const none = await open('/dashboards/nothing', { away: true });
  await none.getByText('there is no dashboard').waitFor();
});
