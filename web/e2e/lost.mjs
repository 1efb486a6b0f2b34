// The server goes away and comes back: the page says so, keeps its numbers, and goes on by itself.
// Talks to whoever stops and starts the server: prints "open" (stop it), "lost" (start it), "back".
//
//   node e2e/lost.mjs --url http://127.0.0.1:8080 [--out DIR]
import { args, check, moved, open, run, shot, value } from './browser.mjs';

await run(async () => {
  const page = await open(`/explore/${args.view}?by=category&from=now-15m`, { scheme: 'dark', away: true });
  await page.evaluate(() => Object.assign(window, { same: true }));
  const before = await moved(page, null);
  await page.locator('.connection', { hasText: /^connected$/ }).waitFor();
  await page.locator('.panel.is-ok, .panel.is-partial').first().waitFor(); // the lines are asked for after the numbers
  console.log('open');
  await page.locator('.connection.lost').waitFor();
  await page.locator('.panel.is-disconnected, .panel.is-stale').first().waitFor();
  const kept = await value(page);
  check(Number(kept) >= Number(before), `the numbers went away with the server: ${kept}`);
  await shot(page, 'disconnected-dark');
  console.log('lost');
  await page.locator('.connection', { hasText: /^connected$/ }).waitFor();
  await page.locator('.panel.is-disconnected, .panel.is-stale').first().waitFor({ state: 'detached' });
  await moved(page, kept);
  check(await page.evaluate(() => 'same' in window), 'the page was loaded again');
  console.log('back');
});
