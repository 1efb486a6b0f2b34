// What every browser test shares: Chromium, a page that notes what it must not do, and waiting for
// things to be so. A test calls run(), which prints what failed, one line each, and sets the exit code.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

export const { values: args } = parseArgs({
  options: {
    url: { type: 'string', default: 'http://127.0.0.1:8080' },
    view: { type: 'string', default: 'pins' },
    out: { type: 'string', default: '' }, // folder of the screenshots
    timeout: { type: 'string', default: '30000' },
  },
});
export const base = new URL(args.url);
export const timeout = Number(args.timeout);

const failures = [];
export const check = (ok, what) => ok || failures.push(what);

let browser;

/**
 * a page that notes what it must not do; with away, the server may be gone for a while, and what the
 * browser says of that is no failure
 */
export async function open(path, { scheme = 'light', width = 1440, height = 1000, away = false } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme });
  const page = await context.newPage();
  page.setDefaultTimeout(timeout);
  page.busy = new Set(); // queries without an answer
  page.on('request', (r) => {
    const u = new URL(r.url());
    check(u.host === base.host, `asked another host: ${r.url()}`);
    if (u.pathname === '/v1/query') page.busy.add(r);
  });
  for (const end of ['requestfinished', 'requestfailed']) page.on(end, (r) => page.busy.delete(r));
  page.on('console', (m) => {
    const gone = away && /net::ERR_|Failed to load resource/.test(m.text());
    if (!gone && ['error', 'warning'].includes(m.type())) failures.push(`console ${m.type()}: ${m.text()}`);
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

export async function shot(page, name) {
  if (!args.out) return;
  await mkdir(args.out, { recursive: true });
  await page.screenshot({ path: join(args.out, `${name}.png`) });
}

/** waits until ask gives something true, and returns it */
export async function until(what, ask) {
  const end = Date.now() + timeout;
  for (;;) {
    const got = await ask();
    if (got) return got;
    if (Date.now() > end) throw new Error(`never came true: ${what}`);
    await new Promise((again) => setTimeout(again, 25));
  }
}

/** the first number of the page, exactly */
export const value = (page) => page.locator('output.value').first().getAttribute('title');

/** waits until the first number of the page is there and not what it was, and returns it */
export const moved = (page, was) =>
  until(`the number ${was} moves`, async () => {
    const now = await value(page);
    return now !== '' && now !== was ? now : null;
  });

/** nothing hangs out of the window to the right, once charts have followed a change of its size */
export const fits = (page, what) =>
  until(`${what} fits its window`, () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));

/** waits until something is drawn on the first chart */
export const drawn = (page, what) => until(`${what} is drawn`, () => inked(page));

// A copy is read: to read the canvas itself again and again is what Chromium warns of.
const inked = (page) =>
  page.evaluate(() => {
    const c = document.querySelector('.plot canvas');
    if (!(c instanceof HTMLCanvasElement) || c.width === 0 || c.height === 0) return false;
    const copy = new OffscreenCanvas(c.width, c.height).getContext('2d', { willReadFrequently: true });
    copy.drawImage(c, 0, 0);
    const { data } = copy.getImageData(0, 0, c.width, c.height);
    return data.some((v, i) => i % 4 === 3 && v > 0);
  });

/** runs a test in a browser of its own */
export async function run(test) {
  try {
    browser = await chromium.launch({
      executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium',
      args: [
        '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
        '--disable-background-networking', '--disable-component-update', '--disable-sync',
      ],
    });
    await test();
  } catch (e) {
    failures.push(e instanceof Error ? e.message : String(e));
  } finally {
    await browser?.close();
  }
  for (const f of new Set(failures)) console.error(f);
  process.exitCode = failures.length > 0 ? 1 : 0;
}
