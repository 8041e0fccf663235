import { call, callTheApi, expect, logInControl, logOutControl, sessionCookie, test, user } from './support/test.mjs';

test('a person logs in from the page and sees who they are', async ({ page, person }) => {
  await person.logIn(page, 'alice');

  expect(await user(page)).toMatchObject({ authenticated: true, claims: { name: expect.stringMatching(/alice/i) } });
  await expect(page.getByText(/alice/i).first()).toBeVisible();
});

test('a deep link with query and fragment comes back byte for byte', async ({ page, person, world }) => {
  const path = '/orders/7?q=a%20b+c&empty=&umlaut=%C3%BC&list=[1,2]#/detail?tab=2%2F3&x=~';

  await person.logIn(page, 'alice', path);

  expect(page.url()).toBe(world.url + path);
});

test('after login the page has no referrer and its address no code', async ({ page, person, world }) => {
  await person.logIn(page);

  expect(await page.evaluate(() => document.referrer)).toBe('');
  expect(page.url()).toBe(`${world.url}/`);
  const visited = await page.evaluate(() => performance.getEntriesByType('navigation').map(({ name }) => name));
  expect(visited.join()).not.toContain('code=');
});

test('the way back after login leads to no dead page and keeps the session', async ({ page, person }) => {
  await person.logIn(page, 'alice', '/orders#1');

  await page.goBack();

  // A provider that meanwhile knows the person sends them straight on, through a callback that was used before.
  await page.waitForURL(({ pathname }) => !pathname.startsWith('/bff/'));
  await page.goto('/');
  await person.seesThatTheyAreLoggedIn(page);
});

test('an address of a finished login leads to the page and not to another token', async ({ page, person, world }) => {
  const callbacks = [];
  page.on('request', (request) => { if (request.url().includes('/bff/callback')) callbacks.push(request.url()); });
  await person.logIn(page, 'alice', '/orders#1');
  const issued = world.issued().length;

  for (const address of [...callbacks]) {
    await page.goto(address);
    await page.waitForURL(`${world.url}/orders#1`);
  }

  expect(callbacks.length).toBeGreaterThanOrEqual(2);
  expect(world.issued()).toHaveLength(issued);
  await person.seesThatTheyAreLoggedIn(page);
});

test('a second login of the same person replaces the id', async ({ context, page, person, world }) => {
  await person.logIn(page);
  const first = await sessionCookie(context, world);
  const rows = await world.rows?.();

  await page.goto('/bff/login');
  await page.waitForURL(`${world.url}/`);
  await person.seesThatTheyAreLoggedIn(page);

  const second = await sessionCookie(context, world);
  expect(second.value).not.toBe(first.value);
  expect(await world.rows?.()).toBe(rows);
});

test('the page calls the API without ever holding a token', async ({ page, person }) => {
  await person.logIn(page);

  await callTheApi(page);

  const { status, body } = await call(page, '/api/orders?x=1');
  expect(status, JSON.stringify(body)).toBe(200);
});

test('without a session the API answers 401 and never a redirect', async ({ page }) => {
  await page.goto('/');

  const { status, body } = await call(page, '/api/orders');

  expect(status).toBe(401);
  expect(body).toMatchObject({ status: 401, login_url: expect.stringContaining('/bff/login') });
});

test('logout ends our session and the provider asks for the password again', async ({ context, page, person, world }) => {
  await person.logIn(page);

  await person.logOut(page);

  expect(await sessionCookie(context, world)).toBeUndefined();
  expect(await user(page)).toMatchObject({ authenticated: false });
  await logInControl(page).click();
  await expect(page.locator('input[type=password]')).toBeVisible();
});

test('after logout the way back shows nobody', async ({ page, person }) => {
  await person.logIn(page);
  await person.logOut(page);

  await page.goBack();
  await page.goto('/');

  await expect(logInControl(page)).toBeVisible();
  await expect(logOutControl(page)).toBeHidden();
});
