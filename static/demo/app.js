// The demo app. It knows three things of Cloakroom: GET /bff/user says who is logged in, /bff/login and POST /bff/logout change it,
// and every call carries the header X-CSRF.

const $ = (id) => document.getElementById(id);
const POLL_MS = 15_000;
const USER_URL = "/bff/user";

/** What /bff/user last said, and when (performance.now()) the session ends. */
let user = null;
let endsAt = 0;
let lifetime = 1;
let askedAtEnd = false;

// --- calls -------------------------------------------------------------------------------------------------------------------

/** Every answer's text is searched for tokens: the app would notice if one ever came. */
const seen = { answers: 0, tokens: 0 };
const TOKEN = /eyJ[\w-]{8,}\.[\w-]{8,}\.|dev-(?:access|refresh|code)-|"(?:access|refresh|id)_token"\s*:/;

function inspect(response, text) {
  seen.answers += 1;
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  if (TOKEN.test(text) || TOKEN.test(headers)) seen.tokens += 1;
}

/** A call with the header that proves it is ours. */
async function call(url, options = {}) {
  const response = await fetch(url, { ...options, headers: { "X-CSRF": "1", ...options.headers } });
  const text = await response.text();
  inspect(response, text);
  return { response, json: parse(text) };
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// --- who is logged in --------------------------------------------------------------------------------------------------------

/** Asks who is logged in. Polling must not keep a session alive, so only the first look and a person's own calls slide it. */
async function look({ slide }) {
  let answer;
  try {
    answer = await call(slide ? USER_URL : `${USER_URL}?slide=false`);
  } catch {
    return notify("Cloakroom cannot be reached. Trying again soon.", { until: "reached" });
  }
  if (!answer.response.ok || !answer.json) {
    const text = answer.json?.detail ?? "Cloakroom cannot say who is logged in. Trying again soon.";
    return notify(text, { until: "reached" });
  }
  settle("reached");
  const before = user;
  user = answer.json;
  if (before?.authenticated && !user.authenticated) sessionEnded();
  if (user.authenticated) {
    settle("logged in");
    const seconds = user.session.expires_in;
    endsAt = performance.now() + seconds * 1000;
    askedAtEnd = false;
    const same = before?.session?.tag === user.session.tag;
    lifetime = same ? Math.max(lifetime, seconds) : seconds;
  }
  render();
  if (currentView() === "browser") searchBrowser();
}

function sessionEnded() {
  notify("Your session has ended. Log in again to go on where you were.", { logIn: true, until: "logged in" });
}

/** Where to log in, coming back to exactly this address. */
function loginUrl(base = user?.login_url ?? "/bff/login") {
  const here = location.pathname + location.search + location.hash;
  return `${base}${base.includes("?") ? "&" : "?"}return_to=${encodeURIComponent(here)}`;
}

async function logOut() {
  $("log-out").disabled = true;
  try {
    const { response, json } = await call("/bff/logout", { method: "POST" });
    if (response.ok && json?.redirect_to) return location.assign(json.redirect_to);
    notify(json?.detail ?? "Logging out did not work. Try again.");
  } catch {
    notify("Cloakroom cannot be reached, so you are still logged in. Try again.");
  }
  $("log-out").disabled = false;
}

// --- the ticket --------------------------------------------------------------------------------------------------------------

function render() {
  const inside = Boolean(user?.authenticated);
  $("counter").setAttribute("aria-busy", String(user === null));
  $("anonymous").hidden = inside || user === null;
  $("ticket").hidden = !inside;
  $("log-out").hidden = !inside;
  $("claims-empty").hidden = inside;
  $("claims-scroll").hidden = !inside;
  if (inside) renderTicket();
  updateLoginLinks();
  tick();
}

function renderTicket() {
  const { claims = {}, sub, session } = user;
  const name = claims.name ?? claims.preferred_username ?? claims.email ?? sub;
  $("name").textContent = name;
  $("contact").textContent = claims.email && claims.email !== name ? claims.email : `Subject ${sub}`;
  $("initials").textContent = initials(name);
  const since = new Date(session.created_at);
  $("since").dateTime = session.created_at;
  $("since").textContent = since.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  if ($("ticket").dataset.tag !== session.tag) renderNumber(session.tag);
  $("claims").replaceChildren(...Object.entries({ sub, ...claims }).map(([claim, value]) => claimRow(claim, value)));
}

/** The number is the session's tag; the paper's colour follows from it, as a cloakroom changes its rolls. */
function renderNumber(tag) {
  $("ticket").dataset.tag = tag;
  $("ticket").dataset.paper = String(parseInt(tag.slice(-2), 16) % 4);
  const groups = tag.match(/.{1,4}/g) ?? [tag];
  $("tag-head").textContent = groups[0];
  $("tag-rest").textContent = groups.slice(1).join(" ");
  let x = 0;
  const bars = [...tag].map((digit, index) => {
    const width = 1 + (parseInt(digit, 16) % 4);
    const path = `M${x} 0h${width}v10h-${width}z`;
    x += width + 1 + (index % 3);
    return path;
  });
  $("bars").setAttribute("viewBox", `0 0 ${x} 10`);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", bars.join(""));
  $("bars").replaceChildren(path);
}

function initials(name) {
  const words = String(name).split(/[\s@._-]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  return letters.map((word) => [...word][0].toUpperCase()).join("") || "?";
}

function claimRow(claim, value) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = claim;
  const cell = document.createElement("td");
  cell.textContent = typeof value === "string" ? value : JSON.stringify(value);
  row.append(head, cell);
  return row;
}

/** Once a second: how long the session lasts. */
function tick() {
  if (!user?.authenticated) return;
  const seconds = Math.max(0, Math.ceil((endsAt - performance.now()) / 1000));
  $("left").textContent = clock(seconds);
  $("left-bar").value = seconds / lifetime;
  $("ticket").classList.toggle("soon", seconds <= 120);
  if (seconds > 0 || askedAtEnd) return;
  askedAtEnd = true;
  look({ slide: false });
}

function clock(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

// --- calling the API ---------------------------------------------------------------------------------------------------------

async function send(method, path, withHeader) {
  const headers = withHeader ? { "X-CSRF": "1" } : {};
  const options = { method, headers };
  if (method === "POST") {
    headers["Content-Type"] = "application/json";
    options.body = JSON.stringify({ coat: "green", pockets: 2 });
  }
  $("answer").hidden = false;
  $("answer").dataset.kind = "";
  $("status").textContent = `${method} ${path} …`;
  $("body").textContent = "";
  const started = performance.now();
  try {
    const response = await fetch(path, options);
    const text = await readAlong(response);
    inspect(response, text);
    showAnswer(response, text, Math.round(performance.now() - started));
    await judge(response, parse(text));
  } catch {
    $("answer").dataset.kind = "bad";
    $("status").textContent = `${method} ${path}: no answer`;
    $("body").textContent = "Cloakroom cannot be reached, or the connection broke.";
  }
}

/** Shows a body while it arrives, so that a stream is seen as one. */
async function readAlong(response) {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader?.read(); part && !part.done; part = await reader.read()) {
    text += part.value;
    $("body").textContent = text;
  }
  return text;
}

function showAnswer(response, text, ms) {
  const type = (response.headers.get("content-type") ?? "no content type").split(";")[0];
  $("answer").dataset.kind = response.ok ? "good" : "bad";
  $("status").textContent = [response.status, response.statusText, type, `${ms} ms`].filter(Boolean).join(" · ");
  const json = parse(text);
  $("body").textContent = json === null ? text || "(empty)" : JSON.stringify(json, null, 2);
}

/** A 401 is told, not acted upon: only a person starts a login. */
async function judge(response, json) {
  if (response.status === 401 && json?.login_url) {
    if (json.type?.endsWith("/step-up-required")) {
      notify("The API asks you to prove again that it is you.", { logIn: true, url: json.login_url });
    } else if (user?.authenticated) {
      await look({ slide: false });
      if (user.authenticated) notify(json.detail ?? json.title, { logIn: true, url: json.login_url });
    }
  } else if (response.ok) {
    await look({ slide: false });
  }
}

// --- what this browser holds -------------------------------------------------------------------------------------------------

async function searchBrowser() {
  const findings = [
    ["Cookies a script can read", document.cookie, "document.cookie is empty"],
    ["Local storage", Object.keys(localStorage).join(", "), "nothing stored"],
    ["Session storage", Object.keys(sessionStorage).join(", "), "nothing stored"],
    ["Databases", (await databases()).join(", "), "none"],
    ["Service workers", (await workers()).join(", "), "none"],
    ["Address of this page", /[?&#](code|state|token|access_token|id_token)=/.test(location.href) ? location.href : "", "no code, no state, no token"],
    ["Answers to this app", seen.tokens ? `a token in ${seen.tokens} of ${seen.answers}` : "", `no token in any of ${seen.answers}`],
  ];
  $("findings").replaceChildren(...findings.map(([what, found, nothing]) => finding(what, found, nothing)));
  const bad = findings.filter(([, found]) => found).length;
  $("findings-status").textContent = bad ? `${bad} findings` : "Nothing found that a script could steal";
}

async function databases() {
  return (await indexedDB.databases?.())?.map((database) => database.name) ?? [];
}

async function workers() {
  return (await navigator.serviceWorker?.getRegistrations())?.map((worker) => worker.scope) ?? [];
}

function finding(what, found, nothing) {
  const item = document.createElement("li");
  item.className = found ? "bad" : "good";
  const [title, text] = [document.createElement("b"), document.createElement("span")];
  title.textContent = what;
  text.textContent = found || nothing;
  item.append(title, text);
  return item;
}

// --- notices -----------------------------------------------------------------------------------------------------------------

/** What takes the notice away by itself: "reached", "logged in", or nothing. */
let noticeUntil;
/** The login URL it offers, if not the usual one. */
let noticeUrl;

function notify(text, { logIn = false, url, until } = {}) {
  noticeUntil = until;
  noticeUrl = url;
  $("notice-text").textContent = text;
  $("notice-log-in").hidden = !logIn;
  $("notice").hidden = false;
  updateLoginLinks();
}

function hideNotice() {
  noticeUntil = undefined;
  $("notice").hidden = true;
}

function settle(what) {
  if (noticeUntil === what) hideNotice();
}

// --- views -------------------------------------------------------------------------------------------------------------------

function currentView() {
  if (location.pathname.startsWith("/orders")) return "orders";
  return { "#/claims": "claims", "#/browser": "browser" }[location.hash] ?? "api";
}

function route() {
  const view = currentView();
  for (const panel of document.querySelectorAll("[data-panel]")) panel.hidden = panel.dataset.panel !== view;
  for (const link of document.querySelectorAll("[data-view]")) {
    link.dataset.view === view ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  $("where-path").textContent = location.pathname;
  $("where-query").textContent = location.search || "none";
  $("where-fragment").textContent = location.hash || "none";
  const title = document.querySelector(`[data-view="${view}"]`).textContent;
  document.title = `${title} · Cloakroom demo`;
  updateLoginLinks();
  if (view === "browser") searchBrowser();
}

function updateLoginLinks() {
  $("log-in").href = loginUrl();
  $("notice-log-in").href = loginUrl(noticeUrl);
}

function follow(event) {
  const link = event.target.closest("a[data-link]");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  if (link.href !== location.href) history.pushState(null, "", link.href);
  route();
}

/** A login without interaction that the provider would not do comes back with its reason. */
function tellLoginError() {
  const url = new URL(location.href);
  const error = url.searchParams.get("login_error");
  if (!error) return;
  url.searchParams.delete("login_error");
  history.replaceState(null, "", url);
  notify(`The provider wants to see you first (${error.replace(/[^\w-]/g, "")}).`, { logIn: true });
}

// --- start -------------------------------------------------------------------------------------------------------------------

document.addEventListener("click", follow);
addEventListener("popstate", route);
addEventListener("hashchange", route);
$("log-out").addEventListener("click", logOut);
$("notice-close").addEventListener("click", hideNotice);
$("look-again").addEventListener("click", searchBrowser);
$("call").addEventListener("submit", (event) => {
  event.preventDefault();
  send($("method").value, $("path").value, $("csrf").checked);
});
for (const button of document.querySelectorAll("[data-preset]")) {
  button.addEventListener("click", () => {
    [$("method").value, $("path").value] = button.dataset.preset.split(" ");
    $("csrf").checked = !("noCsrf" in button.dataset);
    send($("method").value, $("path").value, $("csrf").checked);
  });
}
// A page from the back/forward cache, or a tab that slept, may show somebody who has long left.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  $("log-out").disabled = false;
  look({ slide: false });
});
document.addEventListener("visibilitychange", () => document.hidden || look({ slide: false }));
setInterval(() => document.hidden || look({ slide: false }), POLL_MS);
setInterval(tick, 1000);

tellLoginError();
route();
look({ slide: true });
