// What the demo app makes of the session's events.
import { endHere } from './support/module.mjs';
import { expect, logInControl, logOutControl, test, user } from './support/test.mjs';

const dialog = (page) => page.getByRole('dialog');
const notice = (page) => page.getByRole('alert');

test('logging out in one tab changes the other, without a reload and without asking', async ({ context, page, person }) => {
  await person.logIn(page);
  const other = await context.newPage();
  await other.goto('/#/claims');
  await person.seesThatTheyAreLoggedIn(other);
  await other.evaluate(() => { window.mark = 'the same page'; });
  const asked = [];
  other.on('request', (request) => asked.push(request.url()));

  await person.logOut(page);

  await expect(notice(other)).toContainText('You have logged out.');
  await expect(logOutControl(other)).toBeHidden();
  await expect(logInControl(other)).toBeVisible();
  expect(await other.evaluate(() => window.mark)).toBe('the same page');
  expect(asked.filter((url) => !url.endsWith('/bff/events'))).toEqual([]);
});

test('a draft survives a new login, at the very address', async ({ context, page, person, world }) => {
  const path = '/orders/9?x=%C3%BC#frag?y=1';
  await person.logIn(page, 'alice', path);
  await page.getByLabel('Coat').fill('green');
  await page.getByLabel('What should we know about it?').fill('The left pocket\nhas a hole.');
  const other = await context.newPage();
  await other.goto('/');
  await endHere(other);
  await expect(notice(page)).toContainText('You have logged out.');

  await page.getByRole('button', { name: 'Place the order' }).click();
  await dialog(page).getByRole('button', { name: 'Log in' }).click();

  // The provider still knows them.
  await expect(page.getByText('Your draft is still here.')).toBeVisible();
  expect(page.url()).toBe(world.url + path);
  await expect(page.getByLabel('Coat')).toHaveValue('green');
  await expect(page.getByLabel('What should we know about it?')).toHaveValue('The left pocket\nhas a hole.');
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
  await page.getByRole('button', { name: 'Place the order' }).click();
  await expect(page.getByText('The API has your order.')).toBeVisible();
});

test('a draft is for nobody but who wrote it', async ({ context, page, person, world }) => {
  await person.logIn(page, 'alice', '/orders');
  await page.getByLabel('Coat').fill('a secret of Alice');
  const other = await context.newPage();
  await other.goto('/');
  await person.logOut(other);
  await expect(notice(page)).toContainText('You have logged out.');

  await page.getByRole('button', { name: 'Place the order' }).click();
  await dialog(page).getByRole('button', { name: 'Log in' }).click();
  await page.waitForURL((url) => url.hostname === world.providerHost);
  await world.signIn(page, 'bob');

  await person.seesThatTheyAreLoggedIn(page);
  expect((await user(page)).claims.name).toMatch(/bob/i);
  await expect(page.getByLabel('Coat')).toHaveValue('');
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
});

test('somebody else who logs in with another tab finds nothing of the first', async ({ context, page, person }) => {
  await person.logIn(page, 'alice', '/orders');
  await page.getByLabel('Coat').fill('a secret of Alice');
  const other = await context.newPage();
  await other.goto('/');
  await person.logOut(other);
  await person.logInFrom(other, 'bob');

  await expect(page.getByRole('heading', { level: 1 })).toContainText(/bob/i);
  await expect(page.getByLabel('Coat')).toHaveValue('');
});

test('who does not want to log in now stays, and the call has its 401', async ({ page }) => {
  await page.goto('/');

  await page.getByRole('button', { name: 'Send' }).click();
  await dialog(page).getByRole('button', { name: 'Not now' }).click();

  await expect(page.getByRole('status').filter({ hasText: /^401/ })).toBeVisible();
  await expect(logInControl(page)).toBeVisible();
});

test('an answer that comes late does not write over a newer one', async ({ page, person }) => {
  await person.logIn(page);
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  await page.route('**/api/late', async (route) => {
    await released;
    await route.fulfill({ body: 'too late' }).catch(() => {});
  });
  const send = page.getByRole('button', { name: 'Send' });
  const late = page.waitForEvent('requestfailed', { predicate: (request) => request.url().endsWith('/api/late') });
  await page.getByLabel('Path').fill('/api/late');
  await send.click();

  await page.getByLabel('Path').fill('/api/me');
  await send.click();
  await late;
  release();

  await expect(page.getByRole('status').filter({ hasText: /^200/ })).toBeVisible();
  await expect(page.getByLabel('Body of the answer')).not.toContainText('too late');
});
