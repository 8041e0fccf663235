// Cloakroom, from the page's side. What each call does is in cloakroom.d.ts beside it. No token ever comes here, nothing is stored.

const HEADER = "x-csrf"; // replaced by the server: its `csrf_header`
const BASE = location.origin + new URL(".", import.meta.url).pathname.slice(0, -1);
const NAME = `cloakroom:${BASE}`; // of the lock and of the channel
const LOGIN = `${BASE}/login`;
const EVENTS = ["session", "expiring", "refreshed", "replaced", "token-expired", "ended"];
const NEEDS_LOGIN = ["not-authenticated", "session-expired", "step-up-required"].map((slug) => `${BASE}/problems/${slug}`);

export class CloakroomError extends Error {
  name = "CloakroomError";

  constructor(status, problem) {
    super(problem?.detail ?? problem?.title ?? `status ${status}`);
    Object.assign(this, { status, problem });
  }
}

// --- calls -------------------------------------------------------------------------------------------------------------------

export async function user({ slide = true } = {}) {
  const user = await endpoint(slide ? "/user" : "/user?slide=false");
  const { tag = null, expires_in: left } = user.session ?? {};
  // The stream decides, since answers may overtake each other.
  if ((known !== undefined && known !== tag) || (warned && left > warned)) {
    if (known === null) known = tag;
    look();
  }
  return user;
}

export async function logout({ local = false } = {}) {
  const { redirect_to: url } = await endpoint(local ? "/logout?local=true" : "/logout", "POST");
  location.assign(url);
}

export const sessions = () => endpoint("/sessions");
export const endSession = (tag) => endpoint(`/sessions/${encodeURIComponent(tag)}`, "DELETE");
export const endOtherSessions = () => endpoint("/sessions?others=true", "DELETE");

export async function fetch(input, init) {
  const response = await send(new Request(input, init));
  // The call may have put off the end that all tabs were warned of.
  if (warned && response.ok) look();
  return response;
}

async function send(request) {
  if (new URL(request.url).origin !== location.origin) return globalThis.fetch(request);
  request.headers.set(HEADER, "1");
  const response = await globalThis.fetch(request);
  if (response.status === 401) await refused(response);
  return response;
}

async function endpoint(path, method) {
  const response = await send(new Request(BASE + path, { method }));
  const json = await response.json().catch(() => null);
  if (!response.ok) throw new CloakroomError(response.status, json);
  return json ?? undefined;
}

// --- login -------------------------------------------------------------------------------------------------------------------

export const login = (options) => location.assign(loginUrl(options));

export function loginUrl({ returnTo = here(), remember, url, ...parameters } = {}) {
  const login = new URL(LOGIN);
  const step_up = url && stepUp(url);
  // A step-up says by itself what it asks for.
  const all = { return_to: returnTo, ...(step_up ? { step_up } : { remember: remember || undefined, ...parameters }) };
  for (const [name, value] of Object.entries(all)) if (value !== undefined) login.searchParams.set(name, value);
  return login.href;
}

// Of a login URL that came with a 401 only this is used: the 401 may be an API's, which must neither choose where a login leads
// nor how long it lasts.
function stepUp(url) {
  const { origin, pathname, searchParams } = new URL(url, LOGIN);
  if (origin + pathname !== LOGIN) throw new TypeError("not Cloakroom's login URL");
  return searchParams.get("step_up");
}

// As much of the present address as a login can keep: 2048 characters, no backslash, and not how the last one failed.
function here() {
  const { pathname, hash } = location;
  const search = location.search.replace(/([?&])login_error=[^&]*(&|$)/, (_, before, after) => after && before);
  const addresses = [pathname + search + hash, pathname + search, pathname].map((address) => address.replaceAll("\\", "%5C"));
  return addresses.find((address) => address.length <= 2048);
}

let decision; // about the login that refused calls need, while it is open or carried out
let decide;

export function beforeLogin(handler) {
  decide = handler;
}

async function refused(response) {
  if (!response.headers.get("content-type")?.startsWith("application/problem+json")) return;
  const problem = await response.clone().json().catch(() => null);
  // An API may pass on the problem of another Cloakroom, which no login here solves.
  if (!NEEDS_LOGIN.includes(problem?.type) || !problem.login_url) return;
  try {
    stepUp(problem.login_url);
  } catch {
    return;
  }
  if (!problem.type.endsWith("step-up-required")) look();
  if (!decision) {
    const mine = (decision = leadToLogin(problem));
    const over = () => mine === decision && (decision = undefined);
    // Somebody may still say in the browser's dialog that they do not want to leave.
    mine.then((leaves) => setTimeout(over, leaves ? 10_000 : 0));
  }
  await decision;
}

async function leadToLogin(problem) {
  try {
    if ((await decide?.(problem)) === false) return false;
  } catch (error) {
    reportError(error);
  }
  login({ url: problem.login_url });
  return true;
}

// --- the session's events ----------------------------------------------------------------------------------------------------
//
// The tab that holds the lock leads: it alone has a stream, and passes on what comes. Whoever opens a stream says which session
// was the last one, and is first told what became of it; so no end goes unheard.

const listeners = new Set();
let known; // the session's tag; null: there is none; undefined: not known
let replaced = false; // `known` was, and the new one is not seen yet
let warned = 0; // seconds that were left at the last warning
let last; // the last `session` or `ended`

let member; // aborted when this tab leaves
let channel;
let leads = false;
let source;
let openedAt = -Infinity;
let failures = 0; // streams in a row that brought nothing new
let again; // timer: open the stream
let patience; // timer: the leader does not answer

export function onSession(listener) {
  listeners.add(listener);
  if (!member) {
    if (known === null) known = undefined;
    enter();
  } else if (known === null) queueMicrotask(() => listeners.has(listener) && tell(listener, last));
  else look(false);
  return () => {
    if (listeners.delete(listener) && !listeners.size) leave();
  };
}

function told(event) {
  if (event.type === "session") {
    // This tab was away. It may have been somebody else's.
    if (known && known !== event.tag && !replaced) tellAll({ type: "ended", reason: "unknown" });
    known = event.tag;
  } else if (event.type === "ended") {
    if (known === null) return;
    known = null;
  }
  replaced = event.type === "replaced";
  if (/^(session|ended)$/.test(event.type)) last = event;
  if (event.type === "expiring") warned = event.expires_in;
  else if (event === last) warned = 0;
  tellAll(event);
}

function tellAll(event) {
  for (const listener of [...listeners]) tell(listener, event);
}

function tell(listener, event) {
  try {
    listener(event);
  } catch (error) {
    reportError(error);
  }
}

function enter(steal = false) {
  if (member || !listeners.size) return;
  const me = (member = new AbortController());
  if (!navigator.locks || !globalThis.BroadcastChannel) return lead();
  channel = new BroadcastChannel(NAME);
  channel.onmessage = ({ data }) => heard(data);
  const untilLeft = () =>
    new Promise((left) => {
      if (me.signal.aborted) return left();
      me.signal.addEventListener("abort", left);
      lead();
    });
  navigator.locks.request(NAME, steal ? { steal } : { signal: me.signal }, untilLeft).catch(({ name }) => {
    if (member !== me) return;
    if (name !== "AbortError") return lead();
    // Another tab took the lock away.
    leave();
    enter();
  });
  look(false);
}

function leave() {
  member?.abort();
  source?.close();
  channel?.close();
  clearTimeout(again);
  clearTimeout(patience);
  member = source = channel = patience = undefined;
  leads = false;
}

function heard({ event, look }) {
  if (look !== undefined) return leads && answer(look);
  clearTimeout(patience);
  patience = undefined;
  if (event) told(event);
}

// Has the stream opened again; if not `doubtful`, only if what it said first is not fresh any more. Null asks for a sign of life.
function look(doubtful = true) {
  if (!member) return;
  if (leads) return answer(doubtful);
  channel.postMessage({ look: doubtful });
  // A tab may be stopped without having let go.
  patience ??= setTimeout(() => {
    leave();
    enter(true);
  }, 3000);
}

function answer(doubtful) {
  channel?.postMessage({});
  if (doubtful === null) return;
  const fresh = source?.readyState === 1 && !replaced && last?.tag && performance.now() - openedAt < 5000;
  if (doubtful || !fresh) reopen();
  else spread(last);
}

function lead() {
  clearTimeout(patience);
  leads = true;
  answer(true);
}

function reopen(delay = 0) {
  clearTimeout(again);
  again = setTimeout(connect, Math.max(delay, openedAt + 1000 - performance.now()));
}

function connect() {
  source?.close();
  openedAt = performance.now();
  const stream = (source = new EventSource(`${BASE}/events${known && !replaced ? `?last_event_id=${known}` : ""}`));
  let first;
  stream.onopen = () => (first = true);
  for (const type of EVENTS) {
    stream.addEventListener(type, ({ data }) => {
      const event = { type, ...JSON.parse(data) };
      const over = type === "ended" || type === "replaced";
      if (over) stream.close();
      // The new cookie may be on its way for some seconds.
      if (replaced && (type === "ended" ? failures < 4 : type !== "session" || event.tag === known)) return over && retry();
      failures = 0;
      // There may be another session.
      if (type === "replaced" || (type === "ended" && first && known)) retry();
      first = false;
      spread(event);
    });
  }
  // Broken connections are the browser's to mend. It gives up after a status that is not 200, such as 503.
  stream.onerror = () => stream.readyState === 2 && retry();
}

function retry() {
  reopen(Math.min(1000 * 2 ** failures++, 30_000) * (0.5 + Math.random()));
}

function spread(event) {
  channel?.postMessage({ event });
  told(event);
}

// A page in the back/forward cache, or frozen, lets another lead.
addEventListener("pagehide", leave);
addEventListener("pageshow", ({ persisted }) => {
  if (!persisted) return;
  decision = undefined;
  enter();
});
document.addEventListener("freeze", leave);
document.addEventListener("resume", () => enter());
addEventListener("online", () => look());
// The leader may hang.
setInterval(() => document.hidden || look(null), 5000);
document.addEventListener("visibilitychange", () => document.hidden || look(false));
