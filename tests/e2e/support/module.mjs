// A page of the app with nothing in it but the module, as the program serves it.
import { call, expect } from './test.mjs';

// Opens it at a path below /plain; `window.module` is the module, `window.heard` what `onSession` has told, and `window.statusOf` calls
// by the module's `fetch` and answers the status. (A body that nobody reads has no end for Playwright.)
export async function openPlain(page, path = '/plain') {
  await page.route((url) => url.pathname.startsWith('/plain'), (route) => route.fulfill({ contentType: 'text/html', body: '<title>plain</title>' }));
  await page.goto(path);
  await page.evaluate(async () => {
    window.heard = [];
    window.module = await import('/bff/cloakroom.js');
    window.statusOf = async (...call) => {
      const answer = await window.module.fetch(...call);
      await answer.text();
      return answer.status;
    };
  });
}

// The same, listening, and told how things stand.
export async function openListening(page, path) {
  await openPlain(page, path);
  await page.evaluate(() => { window.stop = window.module.onSession((event) => window.heard.push(event)); });
  await expect.poll(async () => (await heard(page)).length, 'the page is told how things stand').toBeGreaterThan(0);
}

export const heard = (page) => page.evaluate(() => window.heard);

// Waits until the page was told of the session's end, and says why it ended.
export async function toldOfTheEnd(page) {
  await expect.poll(async () => (await heard(page)).at(-1).type, 'the page is told of the end').toBe('ended');
  return (await heard(page)).at(-1).reason;
}

// Ends the session from a page's own script, without leaving it.
export const endHere = (page) => call(page, '/bff/logout?local=true', { method: 'POST', headers: { 'X-CSRF': '1' } });

// Addresses of requests by which the page's window went somewhere.
export function navigations(page) {
  const addresses = [];
  page.on('request', (request) => { if (request.isNavigationRequest()) addresses.push(request.url()); });
  return addresses;
}
