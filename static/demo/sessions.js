// The view with one's own sessions, and what this tab has heard.
import { endOtherSessions, endSession, sessions } from "/bff/cloakroom.js";
import { $, element, time } from "./page.js";
import { paper } from "./ticket.js";

const KEPT = 8;

/** What is shown, as JSON; and how often the list was asked for: an older answer may come later. */
let shown = "";
let asked = 0;

/** Asks for the list; an empty one while nobody is logged in. */
export async function listSessions(isLoggedIn) {
  $("sessions-empty").hidden = isLoggedIn;
  $("sessions").hidden = !isLoggedIn;
  $("sessions-status").textContent = "";
  const mine = ++asked;
  if (!isLoggedIn) return show([]);
  try {
    const own = await sessions();
    if (mine === asked) show(own);
  } catch (error) {
    if (mine === asked) $("sessions-status").textContent = `The list cannot be had: ${error.message}`;
  }
}

/** Leaves the elements alone if nothing has changed, and a keyboard where it was if it can. */
function show(own) {
  own.sort((a, b) => b.current - a.current || b.last_seen_at.localeCompare(a.last_seen_at));
  if (JSON.stringify(own) === shown) return;
  shown = JSON.stringify(own);
  const before = document.activeElement;
  const { tag } = before.dataset;
  $("sessions").replaceChildren(...own.map(row));
  $("end-others").hidden = own.length < 2;
  if (before.checkVisibility()) return;
  const again = tag && $("sessions").querySelector(`button[data-tag="${tag}"]`);
  (again || $("sessions-title")).focus();
}

function row({ tag, device, current, created_at: created, last_seen_at: seen }) {
  const name = device ?? "A browser that does not say what it is";
  const stub = element("span", { text: tag.slice(0, 4), className: "chip" });
  stub.dataset.paper = paper(tag);
  const title = element("b", { text: name });
  const about = element("p", {}, title);
  if (current) about.append(" ", element("span", { text: "this browser", className: "badge" }));
  const times = element("p", { className: "fine" }, "since ", time(created), ", last seen ", time(seen));
  const item = element("li", {}, stub, element("div", {}, about, times));
  if (!current) item.append(endButton(tag, name));
  return item;
}

function endButton(tag, name) {
  const button = element("button", { text: "End", className: "button quiet" });
  button.type = "button";
  button.dataset.tag = tag;
  button.setAttribute("aria-label", `End the session ${tag.slice(0, 4)} on ${name}`);
  button.addEventListener("click", () => end(() => endSession(tag), "The session is over, wherever it was open."));
  return button;
}

async function end(ending, text) {
  let said = text;
  try {
    await ending();
  } catch (error) {
    said = error.message;
  }
  await listSessions(true);
  $("sessions-status").textContent = said;
}

/** Writes down an event. */
export function hear({ type, ...data }) {
  const detail = data.reason ?? (data.expires_in !== undefined ? `${data.expires_in} s left` : "");
  const now = new Date().toLocaleTimeString();
  const item = element("li", {}, element("span", { text: now }), " ", element("b", { text: type }), " ", detail);
  $("heard").prepend(item);
  while ($("heard").children.length > KEPT) $("heard").lastChild.remove();
}

$("end-others").addEventListener("click", () => end(endOtherSessions, "All others are over."));
