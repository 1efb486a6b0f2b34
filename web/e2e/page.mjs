// Opens the page of a running pinflow in Chromium and holds what it promises: a number moves without
// a reload, nothing is asked of another host, nothing fails in the console, keys and table work.
//
//   node e2e/page.mjs --url http://127.0.0.1:8080 [--view pins] [--out DIR]   (Chromium: CHROMIUM_BIN)
//
// Exit 0: all held; 1: something did not, one line each on stderr.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const { values: args } = parseArgs({
  options: {
    url: { type: 'string', default: 'http://127.0.0.1:8080' },
    view: { type: 'string', default: 'pins' },
    out: { type: 'string', default: '' },
    timeout: { type: 'string', default: '30000' },
  },
});
const base = new URL(args.url);
const timeout = Number(args.timeout);
const failures = [];
const check = (ok, what) => ok || failures.push(what);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--headless', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
  ],
});

/** a page that notes what it must not do */
async function open(scheme, path) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, colorScheme: scheme });
  const page = await context.newPage();
  page.setDefaultTimeout(timeout);
  page.on('request', (r) => {
    const u = new URL(r.url());
    if (u.host !== base.host) failures.push(`asked another host: ${r.url()}`);
  });
  page.on('console', (m) => {
    if (m.type() === 'error' || m.type() === 'warning') failures.push(`console ${m.type()}: ${m.text()}`);
  });
  page.on('pageerror', (e) => failures.push(`script error: ${e.message}`));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`));
  });
  const response = await page.goto(new URL(path, base).href);
  check(response?.ok(), `${path} answered ${response?.status()}`);
  check((response?.headers()['content-security-policy'] ?? '').includes("default-src 'none'"), `${path} has no content security policy`);
  return page;
}

async function shot(page, name) {
  if (!args.out) return;
  await mkdir(args.out, { recursive: true });
  await page.screenshot({ path: join(args.out, `${name}.png`) });
}

const value = (page) => page.locator('output.value').first();

/** waits until text of the locator differs from before, and returns it */
async function moved(page, before) {
  await page.waitForFunction((was) => {
    const now = document.querySelector('output.value')?.getAttribute('title');
    return now !== null && now !== undefined && now !== '' && now !== was;
  }, before, { timeout });
  return value(page).getAttribute('title');
}

/** whether anything is drawn on the first chart */
const drawn = (page) =>
  page.evaluate(() => {
    const c = document.querySelector('.plot canvas');
    if (!(c instanceof HTMLCanvasElement) || c.width === 0) return false;
    const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
    return data.some((v, i) => i % 4 === 3 && v > 0);
  });

async function today() {
  const page = await open('light', '/');
  await page.locator('section.stream').first().waitFor();
  await page.locator(`a[href^="/explore/${args.view}"]`).first().waitFor();
  await shot(page, 'today-light');
  await page.locator(`section.stream a[href^="/explore/${args.view}"]`).first().click();
  await page.locator('output.value').first().waitFor();
  check(new URL(page.url()).pathname === `/explore/${args.view}`, `the link led to ${page.url()}`);
  await page.context().close();
}

async function explore(scheme) {
  const page = await open(scheme, `/explore/${args.view}?by=category`);
  await page.evaluate(() => Object.assign(window, { same: true }));
  const first = await moved(page, '');
  const second = await moved(page, first);
  const third = await moved(page, second);
  check(await page.evaluate(() => 'same' in window), 'the page was loaded again');
  console.log(`${scheme}: ${first} → ${second} → ${third} without a reload`);
  check(/as of \d\d:\d\d:\d\d UTC · .*complete/.test(await page.locator('.panel .chip').first().innerText()), 'a panel does not say how fresh it is');
  await page.locator('.plot canvas').first().waitFor();
  check(await drawn(page), 'the chart is blank');
  check((await page.locator('.connection').innerText()).includes('connected'), 'the page does not say that it is connected');
  await page.locator('.board .bar').first().waitFor();
  await shot(page, `explore-${scheme}`);
  return page;
}

/** keys, table, filter and address */
async function keys(page) {
  await page.keyboard.press('p');
  await page.waitForURL(/live=0/);
  await page.waitForTimeout(1000); // answers that were on their way
  const still = await value(page).getAttribute('title');
  await page.waitForTimeout(1500); // long enough for six redraws, if there were any
  check((await value(page).getAttribute('title')) === still, 'a paused page moves');
  await page.locator('.chart').first().focus();
  await page.keyboard.press('ArrowLeft');
  await page.waitForFunction(() => (document.querySelector('.chart [aria-live]')?.textContent ?? '').length > 10);
  await page.keyboard.press('Escape');
  await page.locator('.board .bar').first().click();
  await page.waitForURL(/f=/);
  check((await page.locator('.pill').count()) === 1, 'a click on a board does not filter');
  await page.locator('body').press('v');
  await page.locator('table tbody tr').first().waitFor();
  check(/table=1/.test(page.url()), 'the table is not in the address');
  await page.keyboard.press('?');
  check(await page.locator('dialog').isVisible(), '? does not list the keys');
  await page.keyboard.press('Escape');
  await page.goBack();
  await page.goBack();
  check(!/f=/.test(page.url()) && (await page.locator('.pill').count()) === 0, 'Back does not take the filter away');
}

async function unknownPaths() {
  const page = await open('dark', '/no/such/page');
  await page.getByText('Nothing here').waitFor();
  const bad = await open('dark', `/explore/${args.view}?from=yesterday&grain=second`);
  await bad.locator('.notice').waitFor();
  check((await bad.locator('.notice li').count()) === 2, 'invalid parameters are not told');
  await page.context().close();
  await bad.context().close();
}

try {
  await today();
  const page = await explore('light');
  await keys(page);
  await page.context().close();
  await (await explore('dark')).context().close();
  await unknownPaths();
} catch (e) {
  failures.push(e instanceof Error ? e.message : String(e));
} finally {
  await browser.close();
}
for (const f of new Set(failures)) console.error(f);
process.exitCode = failures.length > 0 ? 1 : 0;
