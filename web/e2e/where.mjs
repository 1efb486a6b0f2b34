// Where is my event? The page of one event of each fate: from its post until it counts, or why it does not;
// by id and by position, by keys and by address, in light, dark and narrow.
//
//   node e2e/where.mjs --url http://127.0.0.1:8080 [--out DIR]
import { base, check, fits, open, run, shot, until } from './browser.mjs';

const post = async (events) => {
  const r = await fetch(new URL('/v1/streams/pin/events', base), { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(events) });
  check(r.status === 202, `the events were answered ${r.status}`);
};

const step = (page, text) => page.locator('.gates li', { hasText: text });

await run(async () => {
  // Asked for right after its answer, an event is found and watched until it counts, without a reload.
  await post([{ event_id: 'wanted', unique_id: 'u', category: 'travel' }, { event_id: 'wanted', unique_id: 'u', category: 'travel' }]);
  const page = await open('/where?id=wanted');
  await page.evaluate(() => Object.assign(window, { same: true }));
  await step(page, 'Durable').first().getByText(/topic pin: partition \d, offset \d/).waitFor();
  await step(page, 'In the lake').getByText(/snapshot \d+/).waitFor();
  await step(page, 'Counts in Pins').getByText(/minute \d{4}-\d\d-\d\d \d\d:\d\d UTC/).waitFor();
  await page.getByText('It is in the lake and counts').waitFor();
  await step(page, 'it repeats an earlier record').waitFor();
  check((await step(page, 'In the lake').locator('.file').innerText()).endsWith('.parquet'), 'the file is not named');
  check(await page.evaluate(() => 'same' in window), 'the page was loaded again');
  await fits(page, 'the journey');
  await shot(page, 'where-light');
  await page.emulateMedia({ colorScheme: 'dark' });
  await shot(page, 'where-dark');
  await page.setViewportSize({ width: 390, height: 844 });
  await fits(page, 'the journey, narrow,');
  await shot(page, 'where-narrow');
  await page.setViewportSize({ width: 1440, height: 1000 });

  // Its bucket leads to Explore at that minute, where it is.
  await step(page, 'Counts in Pins').locator('a').click();
  await page.waitForURL(/\/explore\/pins\?from=.*&to=.*&grain=minute/);
  await until('the bucket counts it', async () => Number(await page.locator('output.value').first().getAttribute('title')) >= 1);
  await page.goBack();
  await page.getByText('It is in the lake and counts').waitFor();

  // Other fates, found by the keyboard.
  await post([{ event_id: 'a test', unique_id: 'u', is_test: true }, { event_id: 'bad', unique_id: 'u', follower_count: 'zz' }]);
  const find = async (text) => {
    await page.keyboard.press('/');
    await page.getByRole('searchbox').fill(text);
    await page.keyboard.press('Enter');
  };
  await find('a test');
  await page.waitForURL(/\/where\?id=a(\+|%20)test$/);
  await step(page, 'Does not count in Pins').getByText('its filter is not true').waitFor();
  await find('bad');
  await step(page, 'Dead letter').getByText('type_mismatch').waitFor();
  await page.getByText('It is a dead letter').waitFor();
  await shot(page, 'where-dead');
  await find('nobody');
  await page.getByText('No event nobody was found').waitFor();
  await page.locator('summary', { hasText: 'Where was looked' }).click();
  await page.getByText(/table pin: the filters of/).waitFor();
  await shot(page, 'where-nobody');

  // By position; what is none is told, what lies nowhere too.
  await page.locator('select').selectOption('at');
  await find('pin/0');
  await page.getByText('Write it like pin/0/1234.').waitFor();
  const at = await open('/where?at=pin/7/0', { away: true });
  await at.getByText('topic pin has the partitions 0 to 1').waitFor();
  const odd = await open('/where?at=pin&q=1', { scheme: 'dark' });
  await odd.locator('.notice', { hasText: 'at=pin is no position' }).waitFor();
  await shot(odd, 'where-empty-dark');

  // The ways to it: a key, Live, System.
  await until('g w leads here', async () => {
    await odd.locator('h1').click();
    await odd.keyboard.press('g');
    await odd.keyboard.press('w');
    return /\/where$/.test(odd.url());
  });
  const system = await open('/system');
  await system.locator('a[href="/where"]').click();
  await system.getByRole('heading', { name: 'Where is my event?' }).waitFor();
  const live = await open('/live?stream=pin');
  await live.locator('.connection', { hasText: /^connected$/ }).waitFor();
  await until('an event is seen', async () => {
    await post({ event_id: `seen-${Date.now()}`, unique_id: 'u' });
    return (await live.locator('.tail tbody tr').count()) > 0;
  });
  await live.locator('.tail a[href^="/where?id=seen-"]').first().click();
  await step(live, 'Received').first().waitFor();
});
