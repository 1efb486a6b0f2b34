// A project that has seen no event: the page shows a line to paste, and comes alive at the first event
// without a reload; a view without data says so.
//
//   node e2e/first.mjs --url http://127.0.0.1:8080 [--out DIR]
import { base, check, moved, open, run, shot } from './browser.mjs';

const post = async (event) => {
  const r = await fetch(new URL('/v1/streams/pin/events', base), { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(event) });
  check(r.status === 202, `the event was answered ${r.status}`);
};

await run(async () => {
  const today = await open('/');
  await today.getByText('No event yet').waitFor();
  check((await today.locator('pre').innerText()).includes(`curl -s ${base.origin}/v1/streams/pin/events`), 'no line to paste');
  await shot(today, 'first-run');
  const explore = await open('/explore/pins');
  await explore.locator('.panel[data-state="never"]').first().waitFor();
  await shot(explore, 'first-explore');

  await post({ category: 'travel', title: 'Hello', poster_name: 'me', is_image_or_video: 'image' });
  await today.locator('section.stream').first().waitFor();
  check((await moved(explore, '0')) === '1', 'the first event is not counted');
  await post({ category: 'art', title: 'Again', poster_name: 'me', is_image_or_video: 'video' });
  check((await moved(explore, '1')) === '2', 'the second event is not counted');
});
