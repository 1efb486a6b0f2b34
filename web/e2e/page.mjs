// Opens the page of a running pinflow in Chromium and holds what it promises: a number moves without
// a reload, nothing is asked of another host, nothing fails in the console, keys and table work.
//
//   node e2e/page.mjs --url http://127.0.0.1:8080 [--view pins] [--out DIR]   (Chromium: CHROMIUM_BIN)
//
// Events have to arrive meanwhile (up --demo). Exit 0: all held; 1: something did not.
import { args, base, check, drawn, fits, moved, open, run, shot, until, value } from './browser.mjs';

async function today() {
  const page = await open('/');
  await page.locator('section.stream').first().waitFor();
  const link = page.locator(`section.stream a[href^="/explore/${args.view}"]`).first();
  await link.waitFor();
  await shot(page, 'today-light');
  await link.click();
  await page.locator('output.value').first().waitFor();
  check(new URL(page.url()).pathname === `/explore/${args.view}`, `the link led to ${page.url()}`);
  await page.context().close();
}

async function explore(scheme) {
  const page = await open(`/explore/${args.view}?by=category&from=now-15m`, { scheme });
  await page.evaluate(() => Object.assign(window, { same: true }));
  const first = await moved(page, null);
  const second = await moved(page, first);
  const third = await moved(page, second);
  check(await page.evaluate(() => 'same' in window), 'the page was loaded again');
  console.log(`${scheme}: ${first} → ${second} → ${third} without a reload`);
  check(/as of \d\d:\d\d:\d\d UTC · .*complete/.test(await page.locator('.panel .chip').first().innerText()), 'a panel does not say how fresh it is');
  await page.locator('.plot canvas').first().waitFor();
  await drawn(page, 'the chart');
  check((await page.locator('.connection').innerText()).includes('connected'), 'the page does not say that it is connected');
  await page.locator('.board .bar').first().waitFor();
  await shot(page, `explore-${scheme}`);
  return page;
}

/** a page that was paused stands still while the server's number goes on */
async function pause(page) {
  await page.keyboard.press('p');
  await page.waitForURL(/live=0/);
  let last = '';
  const goneOn = () =>
    until('the server goes on', async () => {
      const answer = await page.request.get(new URL(`/v1/query?view=${args.view}&from=now-15m`, base).href);
      const now = JSON.stringify((await answer.json()).rows);
      return now !== last ? (last = now) : null;
    });
  for (let i = 0; i < 2; i++) await goneOn();
  await until('answers that were on their way have come', () => page.busy.size === 0);
  const still = await value(page);
  for (let i = 0; i < 3; i++) await goneOn();
  check((await value(page)) === still, 'a paused page moves');
}

/** keys, table, filter and address */
async function keys(page) {
  await page.locator('.chart').first().focus();
  await page.keyboard.press('ArrowLeft');
  await page.waitForFunction(() => (document.querySelector('.chart [aria-live]')?.textContent ?? '').length > 10);
  await page.keyboard.press('Escape');
  await page.locator('.board .bar').first().click();
  await page.waitForURL(/f=/);
  await until('a click on a board filters', async () => (await page.locator('.pill').count()) === 1);
  await page.locator('body').press('v');
  await page.locator('table tbody tr').first().waitFor();
  await page.waitForURL(/table=1/);
  await shot(page, 'table-light');
  await page.keyboard.press('?');
  await page.locator('dialog').waitFor();
  await shot(page, 'keys-light');
  await page.keyboard.press('Escape');
  await page.goBack();
  await page.goBack();
  await until('Back takes the filter away', async () => !/f=/.test(page.url()) && (await page.locator('.pill').count()) === 0);
}

/** what is copied can be used */
async function copy() {
  const page = await open(`/explore/${args.view}?by=category&from=now-15m&f=country:!gb`);
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await moved(page, null);
  const copied = async (label) => {
    await page.locator('.menu.at-end summary').click();
    await page.getByRole('button', { name: label }).click();
    await page.getByText('Copied').waitFor();
    const text = await page.evaluate(() => navigator.clipboard.readText());
    await page.locator('.menu.at-end summary').click();
    await page.getByText('Copied').waitFor({ state: 'detached' });
    return text;
  };
  const url = /^curl -s '(.+)'$/.exec(await copied('as curl'))?.[1];
  check(url && (await page.request.get(url)).ok(), `the copied curl line does not work: ${url}`);
  check(/^pinflow query \w+ .*--by category -f 'country:!gb' --from now-15m/.test(await copied('as CLI command')), 'the copied command is wrong');
  const csv = (await copied('as CSV')).split(/\r?\n/);
  check(csv[0].startsWith('time,category,') && csv.length > 5, `the copied CSV begins with ${csv[0]}`);
  await page.context().close();
}

async function narrow() {
  const page = await open(`/explore/${args.view}?by=category&from=now-15m`, { scheme: 'dark', width: 390, height: 844 });
  await moved(page, null);
  await page.locator('.plot canvas').first().waitFor();
  await fits(page, 'Explore');
  await shot(page, 'explore-narrow');
  await page.locator('.top a', { hasText: 'Today' }).click();
  await page.locator('section.stream').first().waitFor();
  await fits(page, 'Today');
  await page.context().close();
}

async function unknownPaths() {
  const page = await open('/no/such/page', { scheme: 'dark' });
  await page.getByText('Nothing here').waitFor();
  const bad = await open(`/explore/${args.view}?from=yesterday&grain=second`, { scheme: 'dark' });
  await bad.locator('.notice').waitFor();
  await until('both invalid parameters are told', async () => (await bad.locator('.notice li').count()) === 2);
  await bad.locator('.plot canvas').first().waitFor();
  await page.context().close();
  await bad.context().close();
}

await run(async () => {
  await today();
  const page = await explore('light');
  await pause(page);
  await keys(page);
  await page.context().close();
  await (await explore('dark')).context().close();
  await copy();
  await narrow();
  await unknownPaths();
});
