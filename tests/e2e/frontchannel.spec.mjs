// The provider tells of a logout by a frame in its own page. It is on another site, so our Strict cookie stays out of the frame.
import { expect, logInControl, test, user } from './support/test.mjs';

// Everything that the browser asks for in such a frame.
function framesOf(context) {
  const frames = [];
  context.on('request', (request) => { if (request.url().includes('/bff/frontchannel-logout?')) frames.push(request); });
  return frames;
}

test('a logout at the provider reaches the app\'s tab, without any cookie', async ({ context, page, person, world }) => {
  const frames = framesOf(context);
  await page.goto('/');
  await logInControl(page).click();
  await page.waitForURL((url) => url.hostname === world.providerHost);
  const provider = new URL(page.url()).origin;
  await world.signIn(page, 'alice');
  await person.seesThatTheyAreLoggedIn(page);
  await page.evaluate(() => {
    globalThis.told = [];
    for (const name of ['session', 'ended']) {
      (globalThis.events ??= new EventSource('/bff/events')).addEventListener(name, ({ data }) => globalThis.told.push([name, JSON.parse(data).reason]));
    }
  });
  const told = () => page.evaluate(() => globalThis.told);
  await expect.poll(told).toEqual([['session', undefined]]);

  const other = await context.newPage();
  await other.goto(`${provider}/end_session`);
  await other.getByRole('button', { name: 'Log out' }).click();
  await expect(other.getByRole('heading', { name: 'Logged out' })).toBeVisible();

  await expect.poll(told).toEqual([['session', undefined], ['ended', 'provider-logout']]);
  expect(await user(page)).toMatchObject({ authenticated: false });
  expect(frames).toHaveLength(1);
  expect((await frames[0].response()).status()).toBe(200);
  expect(await frames[0].allHeaders()).not.toHaveProperty('cookie');
  // The provider may frame the answer: the browser shows it.
  await expect.poll(() => other.frames().map((frame) => frame.url())).toContain(frames[0].url());
  expect(await other.frames().find((frame) => frame.url() === frames[0].url()).title()).toBe('Logged out');
});

test('a logout in the app passes the frames and comes back to the app', async ({ context, page, person, world }) => {
  const frames = framesOf(context);
  await person.logIn(page);

  await person.logOut(page);

  expect(page.url()).toBe(`${world.url}/`);
  expect(frames).toHaveLength(1);
  expect(await user(page)).toMatchObject({ authenticated: false });
});
