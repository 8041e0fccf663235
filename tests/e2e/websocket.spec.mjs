// WebSockets of an API as a page has them over HTTP/2 (RFC 8441).
import { expect, test } from './support/test.mjs';

// Opens one that remembers what it hears.
const open = (page) => page.evaluate(() => new Promise((resolve, reject) => {
  window.heard = [];
  window.socket = new WebSocket(`wss://${location.host}/api/ws`);
  window.socket.onmessage = ({ data }) => { window.heard.push(data); resolve(); };
  window.socket.onclose = ({ code, wasClean }) => { window.heard.push(`${code} ${wasClean}`); reject(new Error(`closed: ${code}`)); };
}));
const heard = (page) => page.evaluate(() => window.heard);

test('a WebSocket carries both ways, and closes with 4401 when its session ends', async ({ page, person, world }) => {
  await person.logIn(page);
  await open(page);
  await page.evaluate(() => window.socket.send('and back'));
  await expect.poll(() => heard(page)).toEqual(['hello', 'and back']);
  expect(world.log().filter((line) => line.includes('method="CONNECT" path="/api/ws" status=200'))).toHaveLength(1);

  const other = await page.context().newPage();
  await other.goto('/');
  await person.logOut(other);

  await expect.poll(() => heard(page)).toEqual(['hello', 'and back', '4401 true']);
});

test('a WebSocket is told to come back when the program stops, and comes back', async ({ page, person, world }) => {
  await person.logIn(page);
  await open(page);
  await world.restart();
  await expect.poll(() => heard(page)).toEqual(['hello', '1001 true']);
  await open(page);
  expect(await heard(page)).toEqual(['hello']);
});

test('nobody who is not logged in opens one', async ({ page }) => {
  await page.goto('/');
  await expect(open(page)).rejects.toThrow('1006');
});
