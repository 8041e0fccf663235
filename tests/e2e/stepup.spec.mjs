// The vault of the demo's API opens to a second factor (RFC 9470).
import { expect, logOutControl, test, user } from './support/test.mjs';

const vault = (page) => page.getByRole('button', { name: 'Open the vault' });
const dialog = (page) => page.getByRole('dialog');

test('the vault asks for a stronger login, and opens after it', async ({ page, person, world }) => {
  await person.logIn(page, 'alice', '/?x=1#top');
  const before = (await user(page)).session;

  await vault(page).click();
  await expect(dialog(page)).toContainText('Prove again that it is you');
  await dialog(page).getByRole('button', { name: 'Log in' }).click();
  await page.waitForURL((url) => url.hostname === world.providerHost);
  // The password was shown lately.
  await page.getByRole('button', { name: 'Confirm' }).click();
  await person.seesThatTheyAreLoggedIn(page);

  expect(page.url()).toBe(`${world.url}/?x=1#top`);
  const after = (await user(page)).session;
  expect(after.tag).not.toBe(before.tag);
  expect(after.created_at).toBe(before.created_at);
  await vault(page).click();
  await expect(page.getByRole('status').filter({ hasText: /^200/ })).toBeVisible();
});

test('who does not want to prove it stays logged in', async ({ page, person }) => {
  await person.logIn(page);

  await vault(page).click();
  await dialog(page).getByRole('button', { name: 'Not now' }).click();

  await expect(page.getByRole('status').filter({ hasText: /^401/ })).toBeVisible();
  await expect(logOutControl(page)).toBeVisible();
});
