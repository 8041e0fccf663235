// The one event stream that all tabs of a browser share, seen on the wire.
import { endHere, heard, openListening, toldOfTheEnd } from './support/module.mjs';
import { expect, test } from './support/test.mjs';

const isEvents = ({ url }) => url.startsWith('/bff/events');
const openStreams = (world) => world.tap.open.filter(isEvents).length;
const opened = (world) => world.tap.seen.filter(isEvents).length;

async function listeningTabs(context, page, person, count) {
  await person.logIn(page);
  const tabs = [page];
  while (tabs.length < count) tabs.push(await context.newPage());
  for (const tab of tabs) await openListening(tab);
  return tabs;
}

test('three tabs share one stream, and when its tab is closed another opens one', async ({ context, page, person, world }) => {
  const [first, ...others] = await listeningTabs(context, page, person, 3);
  await expect.poll(() => openStreams(world)).toBe(1);
  const before = opened(world);

  await first.close();

  await expect.poll(() => opened(world)).toBe(before + 1);
  await expect.poll(() => openStreams(world)).toBe(1);
  await endHere(others[0]);
  for (const tab of others) expect(await toldOfTheEnd(tab)).toBe('logout');
});

test('a tab that is frozen lets another lead, and is told when it thaws', async ({ context, page, person, world }) => {
  const [first, second] = await listeningTabs(context, page, person, 2);
  const before = opened(world);

  await first.evaluate(() => document.dispatchEvent(new Event('freeze')));
  await expect.poll(() => opened(world)).toBeGreaterThan(before);
  await endHere(second);
  expect(await toldOfTheEnd(second)).toBe('logout');
  expect((await heard(first)).map(({ type }) => type)).not.toContain('ended');
  await first.evaluate(() => document.dispatchEvent(new Event('resume')));

  await toldOfTheEnd(first);
});

test('a tab that holds the lock and does not answer is passed over', async ({ context, page, person, world }) => {
  await person.logIn(page);
  await page.evaluate((url) => {
    navigator.locks.request(`cloakroom:${url}/bff`, () => new Promise(() => {}));
  }, world.url);
  const tab = await context.newPage();

  await openListening(tab);

  expect((await heard(tab))[0].type).toBe('session');
});

test('a tab that shows a dialog leads no longer, and is told when the dialog is gone', async ({ context, page, person, world }) => {
  const [first, second] = await listeningTabs(context, page, person, 2);
  const before = opened(world);
  const dialog = first.waitForEvent('dialog');
  await first.evaluate(() => { setTimeout(() => alert('hold on')); });
  const shown = await dialog;

  await expect.poll(() => opened(world), { timeout: 20_000 }).toBeGreaterThan(before);
  await endHere(second);
  expect(await toldOfTheEnd(second)).toBe('logout');
  await shown.accept();

  await toldOfTheEnd(first);
});

test('a login whose cookie is slow to come is one `replaced` and one `session`', async ({ context, page, person, world }) => {
  const [first, second] = await listeningTabs(context, page, person, 2);
  const already = (await heard(first)).length;
  const types = async () => (await heard(first)).slice(already).map(({ type }) => type);
  const login = world.tap.holdAnswer(({ url }) => url.startsWith('/bff/callback') && url.includes('&hop='));
  const navigation = second.goto('/bff/login');
  await login.arrived;
  await expect.poll(types).toContain('replaced');
  const before = opened(world);
  await expect.poll(() => opened(world), { timeout: 20_000 }).toBeGreaterThan(before + 1);

  // The old session's row may be gone before the new cookie is there.
  world.tap.tell(isEvents, 'event: ended\ndata: {"reason":"unknown"}\n\n');
  await expect.poll(() => opened(world), { timeout: 20_000 }).toBeGreaterThan(before + 2);
  login.release();
  await navigation;

  await expect.poll(async () => (await types()).at(-1), { timeout: 20_000 }).toBe('session');
  expect(await types()).toEqual(['replaced', 'session']);
});

test('a stream that is refused is opened again, and an end that nobody heard is told', async ({ context, page, person, world }) => {
  const [first, second] = await listeningTabs(context, page, person, 2);
  const allow = world.tap.refuse(isEvents, 503);
  const before = opened(world);
  world.tap.cut(isEvents);
  await expect.poll(() => opened(world)).toBeGreaterThan(before + 1);

  await endHere(second);
  allow();

  for (const tab of [first, second]) expect(await toldOfTheEnd(tab)).toBe('logout');
  await expect.poll(() => openStreams(world)).toBe(0);
});

test('somebody else who logged in while nobody listened is an end first', async ({ context, page, person, world }) => {
  const [first, second] = await listeningTabs(context, page, person, 2);
  const allow = world.tap.refuse(isEvents, 503);
  world.tap.cut(isEvents);
  await second.goto('/');
  await person.logOut(second);
  await person.logIn(second, 'bob');

  allow();

  await expect.poll(async () => (await heard(first)).slice(-2).map(({ type }) => type)).toEqual(['ended', 'session']);
});

test('a program that was started again is found again', async ({ context, page, person, world }) => {
  const tabs = await listeningTabs(context, page, person, 2);

  await world.restart();

  await expect.poll(() => openStreams(world), { timeout: 20_000 }).toBe(1);
  await endHere(tabs[1]);
  for (const tab of tabs) expect(await toldOfTheEnd(tab)).toBe('logout');
});

test('without locks every tab has a stream of its own', async ({ context, page, person, world }) => {
  await context.addInitScript(() => Object.defineProperty(navigator, 'locks', { value: undefined }));
  const tabs = await listeningTabs(context, page, person, 2);
  await expect.poll(() => openStreams(world)).toBe(2);

  await endHere(tabs[1]);

  for (const tab of tabs) expect(await toldOfTheEnd(tab)).toBe('logout');
});

test('who listens no more has no stream', async ({ context, page, person, world }) => {
  const [tab] = await listeningTabs(context, page, person, 1);

  await tab.evaluate(() => window.stop());

  await expect.poll(() => openStreams(world)).toBe(0);
});

test('every tab is warned, and told when a call has put the end off', async ({ context, page, person, world }) => {
  const tabs = await listeningTabs(context, page, person, 2);
  world.tap.tell(isEvents, 'event: expiring\ndata: {"expires_in":30}\n\n');
  await tabs[0].evaluate(() => dispatchEvent(new Event('online')));

  for (const tab of tabs) await expect.poll(() => heard(tab)).toContainEqual({ type: 'expiring', expires_in: 30 });

  await tabs[1].evaluate(() => window.statusOf('/api/orders'));
  for (const tab of tabs) await expect.poll(async () => (await heard(tab)).at(-1)).toMatchObject({ type: 'session', expires_in: expect.any(Number) });
});
