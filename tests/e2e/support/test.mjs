// `test` with a world around it, and a check after every test that no answer a page could read held a token.
import { expect, test as base } from '@playwright/test';
import { publicKeyDigest } from './certificate.mjs';
import { startWorld } from './world.mjs';

export { expect };

// JWTs, and what the development provider issues.
const tokenShapes = /\beyJ[\w-]{8,}|\bdev-(access|refresh)-\w+/;

export const test = base.extend({
  worldName: ['demo', { option: true, scope: 'worker' }],

  world: [async ({ worldName }, use) => {
    const world = await startWorld(worldName);
    await use(world);
    await world.stop();
  }, { scope: 'worker', timeout: 60_000 }],

  // The browser trusts the world's certificate, as if its authority were installed.
  browser: [async ({ playwright, browserName, launchOptions, world }, use) => {
    const trust = world.certificate ? [`--ignore-certificate-errors-spki-list=${publicKeyDigest(world.certificate)}`] : [];
    const browser = await playwright[browserName].launch({ ...launchOptions, args: [...launchOptions.args, ...trust] });
    await use(browser);
    await browser.close();
  }, { scope: 'worker', timeout: 60_000 }],

  baseURL: async ({ world }, use) => use(world.url),

  // Every answer of the program to this browser, with what a script could have read of it.
  answers: [async ({ context, world }, use) => {
    const answers = [];
    context.on('response', (response) => {
      if (new URL(response.url()).origin === world.url) answers.push(readable(response));
    });
    await use(answers);
    const issued = world.issued();
    for (const { url, text } of await Promise.all(answers)) {
      const found = text.match(tokenShapes)?.[0] ?? issued.find((token) => text.includes(token));
      expect(found, `a token in the answer to ${url}`).toBeUndefined();
    }
  }, { auto: true }],

  // A person in front of this browser.
  person: async ({ world }, use) => use(new Person(world)),
});

class Person {
  constructor(world) {
    this.world = world;
  }

  // Goes to a page and logs in there.
  async logIn(page, user = 'alice', path = '/') {
    await page.goto(path);
    await this.logInFrom(page, user);
  }

  // Logs in from the page that is open.
  async logInFrom(page, user) {
    await logInControl(page).click();
    await page.waitForURL((url) => url.hostname === this.world.providerHost);
    await this.world.signIn(page, user);
    await this.seesThatTheyAreLoggedIn(page);
  }

  async logOut(page) {
    await logOutControl(page).click();
    // A provider may ask before it ends its own session.
    const confirm = page.getByRole('button', { name: /^(yes, )?sign (me )?out/i });
    await expect(confirm.or(logInControl(page))).toBeVisible();
    if (await confirm.isVisible()) await confirm.click();
    await expect(logInControl(page)).toBeVisible();
  }

  async seesThatTheyAreLoggedIn(page) {
    await expect(logOutControl(page)).toBeVisible();
  }
}

// The page offers the login at more than one place.
export const logInControl = (page) => page.getByRole('link', { name: 'Log in', exact: true }).first();
export const logOutControl = (page) => page.getByRole('button', { name: 'Log out' });

// Calls the API by the page's own form.
export async function callTheApi(page) {
  await page.getByRole('button', { name: 'Send' }).click();
  await expect(page.getByRole('status').filter({ hasText: /^\d{3}/ })).toHaveText(/^200/);
}

// What the page's own script gets from the program.
export function call(page, path, options = {}) {
  return page.evaluate(async ([path, { method = 'GET', headers = { 'X-CSRF': '1' } }]) => {
    const answer = await fetch(path, { method, headers });
    const text = await answer.text();
    return { status: answer.status, body: text.startsWith('{') ? JSON.parse(text) : text };
  }, [path, options]);
}

export const user = async (page) => (await call(page, '/bff/user')).body;

// The session cookie as the browser holds it, or undefined.
export async function sessionCookie(context, world) {
  return (await context.cookies()).find(({ name }) => name === world.sessionCookie);
}

async function readable(response) {
  const headers = await response.allHeaders();
  // A script never sees where a navigation was sent on to, nor a Set-Cookie.
  for (const hidden of ['location', 'set-cookie', 'refresh']) delete headers[hidden];
  // Redirects have no body, the body of a page that was left meanwhile is gone, and that of our events has no end.
  const isEndless = new URL(response.url()).pathname === '/bff/events';
  const body = isEndless ? '' : await response.text().catch(() => '');
  return { url: response.url(), text: JSON.stringify(headers) + body };
}
