// The demo app: who is logged in, what became of the session, and which view is open. Everything it asks of Cloakroom goes
// through /bff/cloakroom.js.
import { beforeLogin, loginUrl, logout, onSession, user as whoIsThere } from "/bff/cloakroom.js";
import { inspect, searchBrowser } from "./browser.js";
import { forgetAnswer } from "./calling.js";
import { bringDraftBack, keepDraft } from "./order.js";
import { $, ask, hideNotice, notify, settle } from "./page.js";
import { hear, listSessions } from "./sessions.js";
import { showTicket, showTimeLeft, tick } from "./ticket.js";

const ENDINGS = {
  logout: "You have logged out.",
  expired: "Your session was not used for a while, or has reached its limit.",
  "provider-logout": "You have logged out at the provider.",
  "replaced-by-other-user": "Somebody else has logged in with this browser.",
  "by-user": "You have ended this session from another browser.",
  limit: "You have logged in at more places than allowed, and this was the oldest.",
  admin: "An administrator has ended this session.",
};

/** What /bff/user last said. */
let user = null;
let leaving = false;
let askedAtEnd = false;

// --- who is logged in --------------------------------------------------------------------------------------------------------

async function look({ slide }) {
  let answer;
  try {
    answer = await whoIsThere({ slide });
  } catch (error) {
    const text = error.problem?.detail ?? "Cloakroom cannot be reached. Trying again soon.";
    return notify(text, { until: "reached" });
  }
  settle("reached");
  const before = user;
  user = answer;
  if (user.authenticated) {
    settle("logged in");
    if (before?.sub !== user.sub) forgetAnswer();
    bringDraftBack(user.sub);
    timeLeft(user.session);
  } else if (before?.authenticated) {
    tellEnd("unknown");
  }
  render();
}

function timeLeft({ tag, expires_in: seconds }) {
  showTimeLeft(tag, seconds);
  askedAtEnd = false;
  if (seconds > 120) settle("extended");
}

function tellEnd(reason) {
  const why = ENDINGS[reason] ?? "Your session has ended.";
  notify(`${why} Log in again to go on where you were.`, { logIn: true, until: "logged in" });
  updateLoginLinks();
}

/** What every tab is told, whichever of them has the stream. */
function onEvent(event) {
  inspect(JSON.stringify(event));
  hear(event);
  if (event.type === "session" && user?.session?.tag === event.tag) timeLeft(event);
  else if (event.type === "session") look({ slide: false });
  else if (event.type === "expiring" && user?.authenticated) warn(event);
  else if (event.type === "token-expired") notify("The API needs a new login.", { logIn: true, until: "logged in" });
  else if (event.type === "ended") end(event.reason);
  if (event.type === "session" && currentView() === "sessions") listSessions(true);
}

function warn({ expires_in: seconds }) {
  showTimeLeft(user.session.tag, seconds);
  const text = seconds > 60 ? "about two minutes" : `${seconds} seconds`;
  notify(`Your session ends in ${text} unless you use it.`, { stay: true, until: "extended" });
}

function end(reason) {
  settle("reached");
  if (user === null || leaving) return;
  const wasInside = user.authenticated;
  user = { authenticated: false, login_url: user.login_url };
  if (wasInside) tellEnd(reason);
  render();
}

async function logOut() {
  $("log-out").disabled = leaving = true;
  try {
    await logout();
  } catch (error) {
    $("log-out").disabled = leaving = false;
    notify(error.problem?.detail ?? "Cloakroom cannot be reached, so you are still logged in. Try again.");
  }
}

// --- the page ----------------------------------------------------------------------------------------------------------------

function render() {
  const inside = Boolean(user?.authenticated);
  $("counter").setAttribute("aria-busy", String(user === null));
  $("anonymous").hidden = inside || user === null;
  $("ticket").hidden = !inside;
  $("log-out").hidden = !inside;
  $("claims-empty").hidden = inside;
  $("claims-scroll").hidden = !inside;
  if (inside) showTicket(user);
  updateLoginLinks();
  everySecond();
  showView();
}

function everySecond() {
  if (!user?.authenticated || tick() > 0 || askedAtEnd) return;
  askedAtEnd = true;
  look({ slide: false });
}

function currentView() {
  if (location.pathname.startsWith("/orders")) return "orders";
  return { "#/claims": "claims", "#/browser": "browser", "#/sessions": "sessions" }[location.hash] ?? "api";
}

/** Fills the view that has to be asked for. */
function showView() {
  if (currentView() === "browser") searchBrowser();
  if (currentView() === "sessions" && user) listSessions(user.authenticated);
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
  showView();
}

function updateLoginLinks() {
  $("log-in").href = $("notice-log-in").href = loginUrl();
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

// Calls that are refused wait for this answer.
beforeLogin(async ({ type }) => {
  const isStepUp = type.endsWith("/step-up-required");
  const title = isStepUp ? "Prove again that it is you" : "Log in to go on";
  const why = isStepUp ? "This needs a stronger or more recent login than yours." : "This needs somebody who is logged in.";
  const yes = await ask(title, `${why} You come back to exactly this place, and what you have written stays.`);
  if (yes) keepDraft();
  return yes;
});

document.addEventListener("click", follow);
addEventListener("popstate", route);
addEventListener("hashchange", route);
for (const link of [$("log-in"), $("notice-log-in")]) link.addEventListener("click", keepDraft);
$("log-out").addEventListener("click", logOut);
$("notice-stay").addEventListener("click", async () => {
  hideNotice();
  await look({ slide: true });
});
addEventListener("pageshow", () => ($("log-out").disabled = leaving = false));
setInterval(everySecond, 1000);

tellLoginError();
route();
onSession(onEvent);
look({ slide: true });
