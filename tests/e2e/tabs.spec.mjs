import { expect, logInControl, test, user } from './support/test.mjs';

const tabs = Array.from({ length: 20 }, (_, number) => `/tab/${number}?n=${number}#part-${number}`);

// Every page is where it wanted to be, and all belong to one session.
async function expectOneSession(pages, world, rowsBefore) {
  const tags = new Set();
  for (const [number, page] of pages.entries()) {
    await page.waitForURL(world.url + tabs[number]);
    const { authenticated, session } = await user(page);
    expect(authenticated).toBe(true);
    tags.add(session.tag);
  }
  expect([...tags]).toHaveLength(1);
  if (world.rows) expect(await world.rows()).toBe(rowsBefore + 1);
}

test('twenty tabs that log in one after the other end on their own pages in one session', async ({ context, world }) => {
  test.slow();
  const rows = await world.rows?.();
  const pages = [];
  for (const path of tabs) {
    const page = await context.newPage();
    await page.goto(path);
    await logInControl(page).click();
    await page.waitForURL((url) => url.hostname === world.providerHost);
    pages.push(page);
  }

  for (const page of pages) {
    await world.signIn(page, 'alice');
    await page.waitForURL((url) => url.hostname !== world.providerHost);
  }

  await expectOneSession(pages, world, rows);
});

test('twenty tabs of a restarted browser log in all at once into one session', async ({ context, page, person, world }) => {
  test.slow();
  await person.logIn(page);
  const rows = await world.rows?.();
  // A restart: our cookie is gone with the browser's session, the provider still knows the person.
  await context.clearCookies({ domain: 'localhost' });
  const pages = await Promise.all(tabs.map(() => context.newPage()));

  await Promise.all(pages.map((tab, number) => tab.goto(`/bff/login?return_to=${encodeURIComponent(tabs[number])}`)));

  await expectOneSession(pages, world, rows);
});
