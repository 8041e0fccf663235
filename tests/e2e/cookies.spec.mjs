import { call, expect, sessionCookie, test } from './support/test.mjs';

// Our cookies with every attribute, as the browser's own tools show them.
async function held(context, page, world) {
  const devtools = await context.newCDPSession(page);
  const { cookies } = await devtools.send('Network.getCookies', { urls: [`${world.url}/`] });
  return cookies;
}

test('the browser holds the session cookie as strictly as it can', async ({ context, page, person, world }) => {
  await person.logIn(page);

  expect(await held(context, page, world)).toEqual([expect.objectContaining({
    name: world.sessionCookie,
    domain: 'localhost', // without a leading dot: for this host only
    path: '/',
    httpOnly: true,
    secure: world.url.startsWith('https:'),
    sameSite: 'Strict',
    session: true,
  })]);
});

test('a login under way is held as strictly', async ({ context, page, world }) => {
  await page.goto('/');
  await page.goto('/bff/login?return_to=%2Forders');

  expect(await held(context, page, world)).toEqual([expect.objectContaining({
    name: expect.stringContaining('-login.'),
    path: '/',
    httpOnly: true,
    secure: world.url.startsWith('https:'),
    sameSite: 'Strict',
  })]);
});

test('scripts find no cookie and no token anywhere', async ({ page, person }) => {
  await person.logIn(page);

  const found = await page.evaluate(async () => ({
    cookie: document.cookie,
    local: { ...localStorage },
    session: { ...sessionStorage },
    databases: (await indexedDB.databases()).length,
    caches: (await caches.keys()).length,
  }));

  expect(JSON.stringify(found)).not.toMatch(/eyJ/);
  expect(found).toMatchObject({ cookie: '', databases: 0, caches: 0 });
});

test('the program is heard in every answer that is searched for tokens', async ({ answers, page, person }) => {
  await person.logIn(page);
  await call(page, '/api/orders');

  const paths = (await Promise.all(answers)).map(({ url }) => new URL(url).pathname);
  expect(paths).toEqual(expect.arrayContaining(['/', '/bff/login', '/bff/callback', '/bff/user', '/api/orders']));
});

test('a 401 leaves the session cookie alone', async ({ context, page, person, world }) => {
  await person.logIn(page);
  const cookie = await sessionCookie(context, world);
  await context.addCookies([{ ...cookie, value: 'A'.repeat(cookie.value.length) }]);

  const { status } = await call(page, '/api/orders');

  expect(status).toBe(401);
  expect((await sessionCookie(context, world)).value).toBe('A'.repeat(cookie.value.length));
});
