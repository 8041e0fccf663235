// What has to be seen or held on the wire.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { eventually } from './support/process.mjs';
import { call, expect, sessionCookie, test, user } from './support/test.mjs';

test('a slow 401 for the old id does not remove the new cookie', async ({ context, page, person, world }) => {
  await person.logIn(page);
  const held = world.tap.hold(({ url }) => url === '/api/slow');
  const late = call(page, '/api/slow');
  await held.arrived;

  const other = await context.newPage();
  await other.goto('/');
  await person.logOut(other);
  await person.logIn(other);
  const cookie = await sessionCookie(context, world);
  held.release();

  expect((await late).status).toBe(401);
  expect(await sessionCookie(context, world)).toEqual(cookie);
  expect((await user(other)).authenticated).toBe(true);
});

for (const kind of ['prefetch', 'prerender']) {
  test(`hovering a link to the logout that the page lets the browser ${kind} logs nobody out`, async ({ page, person, world }) => {
    await person.logIn(page);
    const { logout_url: logout } = await user(page);
    await page.evaluate(([kind, href]) => {
      document.body.append(Object.assign(document.createElement('a'), { href, textContent: 'a link to the logout' }));
      const rules = { [kind]: [{ urls: [href], eagerness: 'moderate' }] };
      const script = Object.assign(document.createElement('script'), { type: 'speculationrules', textContent: JSON.stringify(rules) });
      document.head.append(script);
    }, [kind, logout]);

    await page.getByRole('link', { name: 'a link to the logout' }).hover();
    await eventually('the browser speculates', () => world.tap.seen.some(({ url, headers }) => url === logout && /prefetch/.test(headers['sec-purpose'])));

    expect((await user(page)).authenticated).toBe(true);
    await page.reload();
    await person.seesThatTheyAreLoggedIn(page);
  });
}

test('twenty tabs that log in at once over a slow line end on their own pages in one session', async ({ context, page, person, world }) => {
  test.slow();
  await person.logIn(page);
  const rows = await world.rows();
  await context.clearCookies({ domain: 'localhost' });
  const pages = await Promise.all(Array.from({ length: 20 }, () => context.newPage()));

  world.tap.slow(({ url }) => (url.startsWith('/bff/') ? 100 : 0));
  const paths = pages.map((_, number) => `/tab/${number}?n=${number}#part-${number}`);
  await Promise.all(pages.map((tab, number) => tab.goto(`/bff/login?return_to=${encodeURIComponent(paths[number])}`)));

  await expect.poll(() => pages.map((tab) => tab.url().replace(world.url, ''))).toEqual(paths);
  world.tap.slow(() => 0);
  const tags = new Set();
  for (const tab of pages) tags.add((await user(tab)).session?.tag);
  expect([...tags]).toEqual([expect.any(String)]);
  expect(await world.rows()).toBe(rows + 1);
});

// tests/it checks its own `Browser` against this file, and here Chromium is checked to behave as the file says.
// `RECORD=1 scripts/test --only e2e` writes it anew.
test('Chromium sends what the transcript says', async ({ page, person, world }) => {
  const transcript = fileURLToPath(new URL('../it/data/chromium-login.json', import.meta.url));
  const chains = {};
  const record = async (name, navigate) => {
    const from = world.tap.seen.length;
    await navigate();
    await person.seesThatTheyAreLoggedIn(page);
    chains[name] = world.tap.seen.slice(from).filter(({ url }) => /^\/bff\/(login|callback)|^\/orders/.test(url)).map((request) => described(request, world));
  };

  await page.goto('/orders#1');
  await record('interactive: link on the page, form at the provider', () => person.logInFrom(page, 'alice'));
  await record('silent: link on the page, the provider sends straight back', async () => {
    await page.evaluate(() => Object.assign(document.body.appendChild(document.createElement('a')), { href: '/bff/login?return_to=/orders' }).click());
    await page.waitForURL(`${world.url}/orders`);
  });
  await record('typed: address in the address bar, the provider sends straight back', () => page.goto('/bff/login?return_to=/orders'));

  if (process.env.RECORD) writeFileSync(transcript, `${JSON.stringify(chains, null, 2)}\n`);
  expect(chains).toEqual(JSON.parse(readFileSync(transcript, 'utf8')));
});

// A request without what differs from run to run: hosts become names, cookies their purpose, queries their keys.
function described({ method, url, headers }, world) {
  const { pathname, searchParams } = new URL(url, world.url);
  const named = (value) => value.replace(world.url, '{frontend}').replace(/http:\/\/127\.0\.0\.1:\d+/, '{provider}').replace(/(\/.*)\?.*/, '$1?…');
  const names = ['sec-fetch-site', 'sec-fetch-mode', 'sec-fetch-dest', 'sec-fetch-user', 'origin', 'referer'];
  const purpose = (cookie) => {
    const [name] = cookie.split('=');
    if (name.includes('-login.')) return 'login attempt';
    return name === world.sessionCookie ? 'session' : name;
  };
  return {
    method,
    path: pathname,
    query: [...searchParams.keys()],
    headers: Object.fromEntries(names.filter((name) => headers[name]).map((name) => [name, named(headers[name])])),
    cookies: (headers.cookie ?? '').split('; ').filter(Boolean).map(purpose).sort(),
  };
}

test.describe('after a logout', () => {
  const asked = (world, path) => world.tap.seen.filter(({ url }) => url === path);

  // Has the browser fetch a page ahead, as a page with speculation rules does.
  async function fetchAhead(page, world, path) {
    await page.evaluate((path) => {
      const rules = document.createElement('script');
      Object.assign(rules, { type: 'speculationrules', textContent: JSON.stringify({ prefetch: [{ urls: [path], eagerness: 'immediate' }] }) });
      document.head.append(rules);
    }, path);
    await expect.poll(() => asked(world, path)).toHaveLength(1);
    expect(asked(world, path)[0].headers['sec-purpose']).toContain('prefetch');
  }

  async function go(page, world, path) {
    await page.evaluate((href) => Object.assign(document.body.appendChild(document.createElement('a')), { href }).click(), path);
    await page.waitForURL(world.url + path);
  }

  test('a page that was fetched ahead is fetched anew', async ({ browser, person, world }) => {
    // A window that no fixture listens to: Playwright waits in vain for the headers of what is fetched ahead.
    const context = await browser.newContext({ baseURL: world.url });
    const page = await context.newPage();
    await person.logIn(page);
    await fetchAhead(page, world, '/ahead/1');
    await go(page, world, '/ahead/1');
    expect(asked(world, '/ahead/1'), 'without a logout it is used').toHaveLength(1);

    await fetchAhead(page, world, '/ahead/2');
    await call(page, '/bff/logout', { method: 'POST', headers: { 'X-CSRF': '1' } });
    await go(page, world, '/ahead/2');

    expect(asked(world, '/ahead/2')).toHaveLength(2);
    await context.close();
  });

  test('an API answer that the browser keeps is shown to nobody', async ({ page, person, world }) => {
    await person.logIn(page, 'alice');
    for (let calls = 0; calls < 3; calls += 1) expect((await call(page, '/api/kept')).status).toBe(200);
    expect(asked(world, '/api/kept'), 'the browser keeps it').toHaveLength(1);

    await call(page, '/bff/logout?local=true', { method: 'POST', headers: { 'X-CSRF': '1' } });

    expect((await call(page, '/api/kept')).status).toBe(401);
    await page.reload();
    expect((await call(page, '/api/kept')).status).toBe(401);
    await page.goto('/bff/login');
    await page.waitForURL(`${world.url}/`);
    const before = asked(world, '/api/kept').length;
    expect((await call(page, '/api/kept')).status).toBe(200);
    expect(asked(world, '/api/kept'), 'nor to the next session').toHaveLength(before + 1);
  });
});
