import { createServer } from 'node:http';
import { once } from 'node:events';
import { call, expect, test as base, user } from './support/test.mjs';

// A page of somebody else, on another site of the same machine.
const test = base.extend({
  stranger: async ({ context }, use) => {
    const server = createServer((_, answer) => answer.writeHead(200, { 'content-type': 'text/html' }).end('<title>elsewhere</title>'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const page = await context.newPage();
    await page.goto(`http://evil.localhost:${server.address().port}/`);
    await use(page);
    server.closeAllConnections();
    server.close();
  },
});

test('a stranger\'s script reaches neither the API nor the session', async ({ page, person, stranger, world }) => {
  await person.logIn(page);

  const outcomes = await stranger.evaluate(async (url) => {
    const attempts = [
      ['/bff/user', {}],
      ['/bff/user', { headers: { 'X-CSRF': '1' } }],
      ['/api/orders', { headers: { 'X-CSRF': '1' } }],
      ['/api/orders', { method: 'POST' }],
      ['/bff/logout', { method: 'POST', headers: { 'X-CSRF': '1' } }],
      ['/bff/logout', { method: 'POST' }],
    ];
    return Promise.all(attempts.map(([path, options]) => fetch(url + path, { credentials: 'include', ...options })
      .then(({ status }) => `${path}: ${status}`, () => 'kept out')));
  }, world.url);

  expect(new Set(outcomes)).toEqual(new Set(['kept out']));
  expect((await user(page)).authenticated).toBe(true);
});

test('a stranger\'s form, image, frame and link log nobody out', async ({ page, person, stranger, world }) => {
  await person.logIn(page);
  const { logout_url: logout } = await user(page);

  await stranger.evaluate(async (address) => {
    for (const element of [new Image(), document.createElement('iframe')]) {
      await new Promise((done) => {
        element.onload = element.onerror = done;
        element.src = address;
        document.body.append(element);
      });
    }
  }, world.url + logout);
  await stranger.evaluate((action) => {
    const form = document.body.appendChild(document.createElement('form'));
    Object.assign(form, { method: 'post', action }).submit();
  }, `${world.url}/bff/logout`);
  await stranger.waitForURL(`${world.url}/bff/logout`);
  expect((await user(page)).authenticated).toBe(true);

  await stranger.goBack();
  await stranger.evaluate((href) => Object.assign(document.body.appendChild(document.createElement('a')), { href }).click(), world.url + logout);
  await stranger.waitForURL((url) => url.origin === world.url);
  expect((await user(page)).authenticated).toBe(true);
});

test('a stranger\'s login link cannot send the browser into an API route', async ({ page, person, stranger, world }) => {
  await person.logIn(page);

  const answer = await stranger.goto(`${world.url}/bff/login?return_to=${encodeURIComponent('/api/orders')}`);

  expect(answer.status()).toBe(400);
});

test('a stranger cannot frame the login', async ({ stranger, world }) => {
  const framed = stranger.waitForResponse((response) => response.url().includes('/bff/login'));
  await stranger.evaluate((src) => document.body.append(Object.assign(document.createElement('iframe'), { src })), `${world.url}/bff/login`);

  expect((await framed).status()).toBe(400);
});

test('a foreign preflight gets no permission', async ({ page, world }) => {
  await page.goto('/');
  const answer = await page.request.fetch(`${world.url}/api/orders`, {
    method: 'OPTIONS',
    headers: { Origin: 'http://evil.localhost', 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'x-csrf' },
    ignoreHTTPSErrors: true,
  });

  expect(Object.keys(answer.headers()).filter((name) => name.startsWith('access-control-'))).toEqual([]);
  expect((await call(page, '/bff/user')).status).toBe(200);
});
