// A server that asks for keys: the page leads to the log-in, a wrong key is refused, a right one opens
// the page that was wanted, no script sees it, and when it is revoked the page leads to the log-in again.
// Talks to whoever started it: prints "in" (revoke the key). The key is in the environment: READER_KEY.
//
//   READER_KEY=… node e2e/login.mjs --url http://127.0.0.1:8080 [--out DIR]
import { check, open, run, shot } from './browser.mjs';

await run(async () => {
  const page = await open('/explore/pins?from=now-15m', { away: true });
  await page.waitForURL(/\/login\?to=/);
  await shot(page, 'login-light');
  const enter = async (key) => {
    await page.getByLabel('API key').fill(key);
    await page.getByRole('button', { name: 'Log in' }).click();
  };
  await enter('no such key');
  await page.getByText('There is no such key in force.').waitFor();
  await enter(process.env.READER_KEY ?? '');
  await page.waitForURL(/\/explore\/pins\?from=now-15m$/);
  await page.locator('.panel').first().waitFor();
  await page.locator('.connection', { hasText: /^connected$/ }).waitFor();
  check((await page.evaluate(() => document.cookie + JSON.stringify(localStorage))) === '{}', 'a script can read the session');
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.waitForURL(/\/login$/);
  check((await page.request.get(new URL('/v1/views', page.url()).href)).status() === 401, 'the session goes on after the log-out');
  await page.goto(new URL('/explore/pins?from=now-15m', page.url()).href);
  await page.waitForURL(/\/login\?to=/);
  await enter(process.env.READER_KEY ?? '');
  await page.waitForURL(/\/explore\/pins\?from=now-15m$/);
  await page.locator('.connection', { hasText: /^connected$/ }).waitFor();
  console.log('in');
  await page.waitForURL(/\/login\?to=%2Fexplore%2Fpins/);
});
