// How the demo looks, for people: pictures in build/screenshots, and what a screen reader and a keyboard meet.
import AxeBuilder from '@axe-core/playwright';
import { endHere } from './support/module.mjs';
import { callTheApi, expect, logInControl, logOutControl, test } from './support/test.mjs';

const folder = new URL('../../build/screenshots/', import.meta.url).pathname;
const widths = { wide: { width: 1200, height: 800 }, narrow: { width: 360, height: 740 } };

async function expectNoBarrier(page) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map(({ id, help, nodes }) => ({ id, help, where: nodes.map(({ html }) => html) }))).toEqual([]);
}

for (const colorScheme of ['light', 'dark']) {
  for (const [width, viewport] of Object.entries(widths)) {
    test.describe(`${colorScheme}, ${width}`, () => {
      test.use({ colorScheme, viewport, contextOptions: { reducedMotion: 'reduce' } });

      test('every page can be read by everybody and fits its window', async ({ context, page, person, world }) => {
        const look = async (name) => {
          const path = `${folder}${name}-${colorScheme}-${width}.png`;
          await page.screenshot({ path, fullPage: true, animations: 'disabled' });
          await expectNoBarrier(page);
          expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), `${name} scrolls sideways`).toBeLessThanOrEqual(0);
        };

        await page.goto('/');
        await expect(logInControl(page)).toBeVisible();
        await look('logged-out');
        await logInControl(page).click();
        await page.waitForURL((url) => url.hostname === world.providerHost);
        await look('provider');
        await world.signIn(page, 'alice');
        await person.seesThatTheyAreLoggedIn(page);
        await look('logged-in');
        await callTheApi(page);
        await look('api-called');
        await page.goto('/#/sessions');
        await expect(page.getByRole('log')).toContainText('session');
        await look('sessions');
        await page.goto('/orders?x=1#frag');
        await page.getByLabel('Coat').fill('green, two pockets');
        await look('order');
        await endHere(page);
        await expect(logInControl(page)).toBeVisible();
        await look('ended');
        await page.getByRole('button', { name: 'Place the order' }).click();
        await expect(page.getByRole('dialog')).toBeVisible();
        await look('asked');
        await context.clearCookies();
        expect((await page.goto('/bff/callback?state=unknown&code=x&hop=1')).status()).toBe(400);
        await look('login-expired');
        expect((await page.goto('/bff/problems/session-expired')).status()).toBe(200);
        await look('problem');
      });
    });
  }
}

test('a keyboard is enough to log in and out', async ({ page, world }) => {
  const tabTo = async (control) => {
    for (let presses = 0; presses < 30; presses += 1) {
      if (await control.evaluate((element) => element === document.activeElement)) return;
      await page.keyboard.press('Tab');
    }
    throw new Error('the control cannot be reached with Tab');
  };

  await page.goto('/');
  await tabTo(logInControl(page));
  await page.keyboard.press('Enter');
  await page.waitForURL((url) => url.hostname === world.providerHost);
  await tabTo(page.getByLabel('User name'));
  await page.keyboard.type('alice');
  await tabTo(page.getByLabel('Password'));
  await page.keyboard.type('alice');
  await page.keyboard.press('Enter');
  await tabTo(logOutControl(page));
  await page.keyboard.press('Enter');
  await expect(logOutControl(page)).toBeHidden();
});

test('the page has a heading, a main part and a language', async ({ page }) => {
  await page.goto('/');

  await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
  await expect(page.getByRole('main')).toBeVisible();
  expect(await page.locator('html').getAttribute('lang')).toBe('en');
});
