// One's own sessions, listed and ended in the demo app.
import { endHere } from './support/module.mjs';
import { expect, logInControl, test } from './support/test.mjs';

const list = (page) => page.getByRole('main').locator('#sessions > li');

// Other tests may have left sessions of the same person.
async function logInAlone(page, person) {
  await person.logIn(page);
  await page.evaluate(() => import('/bff/cloakroom.js').then(({ endOtherSessions }) => endOtherSessions()));
}

// More browsers of the same person.
async function otherBrowsers(browser, world, person, count) {
  const pages = [];
  while (pages.length < count) {
    const context = await browser.newContext({ baseURL: world.url, ignoreHTTPSErrors: true });
    const page = await context.newPage();
    await person.logIn(page);
    pages.push(page);
  }
  return pages;
}

test('sessions are listed and ended from another browser, where it shows at once', async ({ browser, page, person, world }) => {
  await logInAlone(page, person);
  const [second, third] = await otherBrowsers(browser, world, person, 2);

  await page.goto('/#/sessions');
  await expect(list(page)).toHaveCount(3);
  await expect(list(page).filter({ hasText: 'this browser' })).toHaveCount(1);
  await expect(list(page).first()).toContainText('on Linux');
  const { session } = await second.evaluate(() => import('/bff/cloakroom.js').then(({ user }) => user()));
  await page.getByRole('button', { name: `End the session ${session.tag.slice(0, 4)}` }).click();

  await expect(second.getByRole('alert')).toContainText('from another browser');
  await expect(logInControl(second)).toBeVisible();
  await expect(list(page)).toHaveCount(2);
  await person.seesThatTheyAreLoggedIn(third);

  await page.getByRole('button', { name: 'End all others' }).click();
  await expect(third.getByRole('alert')).toContainText('from another browser');
  await expect(list(page)).toHaveCount(1);
  await person.seesThatTheyAreLoggedIn(page);

  await endHere(page);
  for (const other of [second, third]) await other.context().close();
});

test('a keyboard stays where it is when the list is drawn anew', async ({ browser, page, person, world }) => {
  await logInAlone(page, person);
  const [second] = await otherBrowsers(browser, world, person, 1);
  await page.goto('/#/sessions');
  await expect(list(page)).toHaveCount(2);
  const end = list(page).nth(1).getByRole('button');
  await end.focus();

  const [third] = await otherBrowsers(browser, world, person, 1);
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await expect(list(page)).toHaveCount(3);
  const { session } = await second.evaluate(() => import('/bff/cloakroom.js').then(({ user }) => user()));
  await expect(page.locator(`button[data-tag="${session.tag}"]`)).toBeFocused();

  await page.keyboard.press('Enter');
  await expect(list(page)).toHaveCount(2);
  await expect(page.getByRole('heading', { name: 'Your sessions' })).toBeFocused();

  await endHere(page);
  for (const other of [second, third]) await other.context().close();
});
