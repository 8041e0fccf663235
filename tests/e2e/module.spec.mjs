// `/bff/cloakroom.js` in pages that hold nothing else.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { endHere, heard, navigations, openListening, openPlain, toldOfTheEnd } from './support/module.mjs';
import { expect, test } from './support/test.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

test('the module is smaller than 4 KB where a proxy compresses it', async ({ page }) => {
  const answer = await page.request.get('/bff/cloakroom.js', { ignoreHTTPSErrors: true });
  expect(answer.headers()).toMatchObject({ 'content-type': 'text/javascript; charset=utf-8', 'x-content-type-options': 'nosniff' });
  expect(gzipSync(await answer.text(), { level: 9 }).length).toBeLessThan(4096);
});

test('its types fit what an app does', () => {
  execFileSync(here('node_modules/.bin/tsc'), ['--project', here('types')], { stdio: 'pipe' });
});

test('a deep link with everything in it survives fifty calls that are refused at once, and there is one navigation', async ({ page, world }) => {
  const path = '/plain/7?q=a%20b+c&umlaut=%C3%BC#/detail?tab=2%2F3';
  await openPlain(page, path);
  const visited = navigations(page);
  let leave;
  const answered = new Promise((resolve) => { leave = resolve; });
  await page.route('**/bff/login?*', (route) => answered.then(() => route.continue()));

  const statuses = await page.evaluate(() => Promise.all(Array.from({ length: 50 }, (_, number) => window.statusOf(`/api/orders?${number}`))));

  leave();

  expect(statuses).toEqual(Array(50).fill(401));
  await page.waitForURL((url) => url.hostname === world.providerHost);
  await world.signIn(page, 'alice');
  await page.waitForURL(world.url + path);
  expect(visited.filter((url) => url.includes('/bff/login'))).toHaveLength(1);
});

test('calls that are refused wait for what the app decides, and it may stay', async ({ page }) => {
  await openPlain(page);
  const visited = navigations(page);

  const { asked, settled, statuses, after } = await page.evaluate(async () => {
    let asked = 0;
    let settled = 0;
    let answer;
    window.module.beforeLogin(() => {
      asked += 1;
      return new Promise((resolve) => { answer = resolve; });
    });
    const call = () => window.statusOf('/api/orders').finally(() => { settled += 1; });
    const plain = () => fetch('/api/orders').then((answer) => answer.text());
    const calls = Array.from({ length: 10 }, call);
    while (!answer) await plain();
    // By now all ten were answered.
    await plain();
    const early = settled;
    answer(false);
    const statuses = await Promise.all(calls);
    const first = asked;
    window.module.beforeLogin(() => { asked += 1; return false; });
    await new Promise((done) => setTimeout(done));
    await call();
    return { asked: first, settled: early, statuses, after: asked };
  });

  expect({ asked, settled, after }).toEqual({ asked: 1, settled: 0, after: 2 });
  expect(statuses).toEqual(Array(10).fill(401));
  expect(visited).toEqual([]);
});

test('what the app decides with throws: the page leaves all the same, and the call has its 401', async ({ page }) => {
  await openPlain(page);
  await page.route('**/bff/login?*', (route) => route.fulfill({ status: 204 }));
  const left = page.waitForRequest('**/bff/login?*');
  const reported = page.waitForEvent('pageerror');

  const status = await page.evaluate(() => {
    window.module.beforeLogin(() => { throw new Error('no room for the draft'); });
    return window.statusOf('/api/orders');
  });

  expect(status).toBe(401);
  expect((await reported).message).toBe('no room for the draft');
  await left;
});

test('a decision of before the page came back from the history ends no newer one', async ({ page }) => {
  await page.clock.install();
  await openPlain(page);
  await page.route('**/bff/login?*', (route) => route.fulfill({ status: 204 }));
  const left = page.waitForRequest('**/bff/login?*');
  await page.evaluate(() => window.statusOf('/api/orders'));
  await left;
  await page.evaluate(() => {
    window.asked = 0;
    window.module.beforeLogin(() => {
      window.asked += 1;
      return new Promise(() => {});
    });
    dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }));
    window.statusOf('/api/orders?1');
  });
  await page.waitForFunction(() => window.asked === 1);

  await page.clock.fastForward(10_000);
  const second = page.waitForResponse('**/api/orders?2');
  await page.evaluate(() => { window.statusOf('/api/orders?2'); });
  await (await second).finished();
  // By now it would have asked.
  await page.evaluate(() => fetch('/api/orders').then((answer) => answer.text()));

  expect(await page.evaluate(() => window.asked)).toBe(1);
});

test('a 401 of somebody else leads nowhere', async ({ page, world }) => {
  await openPlain(page);
  const visited = navigations(page);
  const type = `${world.url}/bff/problems/session-expired`;
  const problems = [
    ...['https://evil.example/bff/login', '//evil.example/bff/login', '/bff/logout?sid=1', '/bff/login/../logout', '/bff/loginx', 'javascript:alert(1)', 'http://', '', 7, null]
      .map((login_url) => ({ type, login_url })),
    { type },
    ...['https://other.example/bff/problems/not-authenticated', '/bff/problems/not-authenticated', `${type}?`, `${world.url}/other/problems/session-expired`, `${world.url}/bff/problems/no-such-thing`]
      .map((type) => ({ type, login_url: '/bff/login' })),
    null,
    'text',
  ];
  await page.route('**/api/fake*', (route) => {
    const problem = problems[Number(new URL(route.request().url()).search.slice(1))];
    return route.fulfill({ status: 401, contentType: 'application/problem+json', body: JSON.stringify(problem) });
  });
  await page.route('**/api/page', (route) => route.fulfill({ status: 401, contentType: 'text/html', body: JSON.stringify({ type, login_url: '/bff/login' }) }));

  const asked = await page.evaluate(async (count) => {
    let asked = 0;
    window.module.beforeLogin(() => { asked += 1; });
    for (let number = 0; number < count; number += 1) await window.statusOf(`/api/fake?${number}`);
    await window.statusOf('/api/page');
    return asked;
  }, problems.length);

  expect(asked).toBe(0);
  expect(visited).toEqual([]);
});

test('of a login URL that came with a 401 only the step-up counts', async ({ page, world }) => {
  await openPlain(page, '/plain?a=b#c');

  const address = await page.evaluate(() => window.module.loginUrl({ url: '/bff/login?step_up=sealed&remember=true&return_to=/other&prompt=none' }));

  expect(address).toBe(`${world.url}/bff/login?return_to=%2Fplain%3Fa%3Db%23c&step_up=sealed`);
  // It would be refused together with anything else.
  const more = { remember: true, prompt: 'login', max_age: 60, acr_values: 'mfa' };
  const withMore = (url) => page.evaluate(([url, more]) => window.module.loginUrl({ returnTo: '/', url, ...more }), [url, more]);
  expect(await withMore('/bff/login?step_up=sealed')).toBe(`${world.url}/bff/login?return_to=%2F&step_up=sealed`);
  expect(await withMore('/bff/login')).toBe(`${world.url}/bff/login?return_to=%2F&remember=true&prompt=login&max_age=60&acr_values=mfa`);
});

test('a login comes back to as much of the address as it can keep', async ({ page }) => {
  const returnTo = async (path) => {
    await page.evaluate((path) => history.replaceState(null, '', path), path);
    return new URL(await page.evaluate(() => window.module.loginUrl())).searchParams.get('return_to');
  };
  await openPlain(page);

  expect(await returnTo('/plain?x=1#y\\z')).toBe('/plain?x=1#y%5Cz');
  expect(await returnTo('/plain?login_error=login_required#y')).toBe('/plain#y');
  expect(await returnTo('/plain?x=a%20b+c&login_error=login_required')).toBe('/plain?x=a%20b+c');
  expect(await returnTo('/plain?login_error=login_required&x=1&xlogin_error=2')).toBe('/plain?x=1&xlogin_error=2');
  expect(await returnTo(`/plain?x=1#${'y'.repeat(2100)}`)).toBe('/plain?x=1');
  expect(await returnTo(`/plain?${'x'.repeat(2100)}#y`)).toBe('/plain');
  expect(await returnTo(`/plain/${'x'.repeat(2100)}`)).toBe(null);
});

test('the header goes to this origin and to no other', async ({ page, world }) => {
  await openPlain(page);
  const { protocol } = new URL(world.url);
  const elsewhere = `${protocol}//elsewhere.localhost`;
  const seen = [];
  await page.route(`${elsewhere}/**`, async (route) => {
    seen.push(await route.request().allHeaders());
    await route.fulfill({ headers: { 'access-control-allow-origin': '*' }, body: '' });
  });

  const own = await page.evaluate(async (elsewhere) => {
    await window.statusOf(`${elsewhere}/text`);
    await window.statusOf(new URL(`${elsewhere}/url`));
    await window.statusOf(new Request(`${elsewhere}/request`, { method: 'POST', body: 'x' }));
    await window.statusOf('data:text/plain,x');
    return window.statusOf(new Request('/bff/user'), { headers: { accept: 'application/json' } });
  }, elsewhere);

  expect(own).toBe(200);
  expect(seen).toHaveLength(3);
  for (const headers of seen) expect(headers).not.toHaveProperty('x-csrf');
});

test('what an endpoint refuses is thrown with what it says', async ({ page }) => {
  await openPlain(page);
  await page.route('**/bff/user', (route) => route.fulfill({ status: 503, contentType: 'application/problem+json', body: '{"title":"Unavailable","detail":"Try again."}' }));

  const thrown = await page.evaluate(() => window.module.user().catch(({ name, message, status, problem }) => ({ name, message, status, title: problem.title })));

  expect(thrown).toEqual({ name: 'CloakroomError', message: 'Try again.', status: 503, title: 'Unavailable' });
});

test('every tab is told why the session ended, and one that comes later how things stand', async ({ context, page, person }) => {
  await person.logIn(page);
  const tabs = [page, await context.newPage(), await context.newPage()];
  for (const tab of tabs) await openListening(tab);

  await endHere(tabs[1]);

  for (const tab of tabs) expect(await toldOfTheEnd(tab)).toBe('logout');
  const late = await context.newPage();
  await openListening(late);
  expect(await heard(late)).toEqual([{ type: 'ended', reason: expect.any(String) }]);
  // Nobody is told twice.
  for (const tab of tabs) expect((await heard(tab)).filter(({ type }) => type === 'ended')).toHaveLength(1);
});

test('whoever listens again while nobody is logged in is told so', async ({ page }) => {
  await openListening(page);

  await page.evaluate(() => {
    window.stop();
    window.heard = [];
    window.module.onSession((event) => window.heard.push(event));
  });

  await expect.poll(() => heard(page)).toEqual([{ type: 'ended', reason: 'unknown' }]);
});

test('an answer of before the logout that comes after it is followed by the end', async ({ context, page, person }) => {
  await person.logIn(page);
  const tab = await context.newPage();
  await openListening(tab);
  await tab.evaluate(() => {
    const { fetch } = window;
    const released = new Promise((release) => { window.release = release; });
    window.held = new Promise((held) => {
      window.fetch = async (...call) => {
        const response = await fetch(...call);
        held();
        await released;
        return response;
      };
    });
  });
  const answer = tab.evaluate(async () => {
    const { authenticated } = await window.module.user();
    window.heard.push({ type: authenticated ? 'inside' : 'outside' });
  });
  await tab.evaluate(() => window.held);
  await endHere(page);
  await toldOfTheEnd(tab);

  await tab.evaluate(() => window.release());
  await answer;

  await expect.poll(async () => (await heard(tab)).map(({ type }) => type)).toEqual(['session', 'ended', 'inside', 'ended']);
});

test('tabs that were told of the end hear of the next login', async ({ context, page, person }) => {
  await person.logIn(page);
  const tab = await context.newPage();
  await openListening(tab);
  await endHere(page);
  await toldOfTheEnd(tab);

  // The provider still knows them.
  await page.goto('/bff/login');
  await person.seesThatTheyAreLoggedIn(page);

  await expect.poll(async () => (await heard(tab)).at(-1).type).toBe('session');
  const { session } = await tab.evaluate(() => window.module.user());
  expect((await heard(tab)).at(-1).tag).toBe(session.tag);
});

test('a newer login of the same person is no end', async ({ context, page, person, world }) => {
  await person.logIn(page);
  const tab = await context.newPage();
  await openListening(tab);

  await page.goto('/bff/login');
  await page.waitForURL(`${world.url}/`);

  await expect.poll(async () => (await heard(tab)).map(({ type }) => type)).toContain('replaced');
  await expect.poll(async () => (await heard(tab)).at(-1).type).toBe('session');
  const types = (await heard(tab)).map(({ type }) => type);
  expect(types).not.toContain('ended');
});

test('another browser of the same person is not told', async ({ browser, page, person, world }) => {
  await person.logIn(page);
  await openListening(page);
  const other = await browser.newContext({ baseURL: world.url, ignoreHTTPSErrors: true });
  const elsewhere = await other.newPage();
  await person.logIn(elsewhere);
  await openListening(elsewhere);

  await endHere(elsewhere);

  expect(await toldOfTheEnd(elsewhere)).toBe('logout');
  expect((await heard(page)).map(({ type }) => type)).not.toContain('ended');
  await other.close();
});
