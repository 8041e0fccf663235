// The ticket: who is logged in, and for how long.
import { $, element, time } from "./page.js";

/** Claims that are seconds since 1970 (RFC 7519 §2, NumericDate; OIDC Core §2 and §5.1). */
const TIMES = ["auth_time", "exp", "iat", "nbf", "updated_at"];

/** When (performance.now()) the session ends. */
let endsAt = Infinity;
let lifetime = 1;

export function showTicket({ claims = {}, sub, session }) {
  const name = claims.name ?? claims.preferred_username ?? claims.email ?? sub;
  $("name").textContent = name;
  $("contact").textContent = claims.email && claims.email !== name ? claims.email : `Subject ${sub}`;
  $("initials").textContent = initials(name);
  const since = new Date(session.created_at);
  $("since").dateTime = session.created_at;
  $("since").textContent = since.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  if ($("ticket").dataset.tag !== session.tag) showNumber(session.tag);
  $("claims").replaceChildren(...Object.entries({ sub, ...claims }).map(([claim, value]) => claimRow(claim, value)));
}

/** Takes over how long the session lasts, in seconds. */
export function showTimeLeft(tag, seconds) {
  const same = $("left").dataset.tag === tag;
  $("left").dataset.tag = tag;
  lifetime = same ? Math.max(lifetime, seconds) : seconds;
  endsAt = performance.now() + seconds * 1000;
}

/** Once a second. Answers how many seconds are left. */
export function tick() {
  const seconds = Math.max(0, Math.ceil((endsAt - performance.now()) / 1000));
  $("left").textContent = clock(seconds);
  $("left-bar").value = seconds / lifetime;
  $("ticket").classList.toggle("soon", seconds <= 120);
  return seconds;
}

/** Tickets of one session have one colour, as a cloakroom changes its rolls. */
export const paper = (tag) => String(parseInt(tag.slice(-2), 16) % 4);

function showNumber(tag) {
  $("ticket").dataset.tag = tag;
  $("ticket").dataset.paper = paper(tag);
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
  const head = element("th", {}, ...breakable(claim));
  head.scope = "row";
  const isTime = TIMES.includes(claim) && Math.abs(value) < 1e11;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const shown = isTime ? [time(new Date(value * 1000).toISOString())] : breakable(text);
  return element("tr", {}, head, element("td", {}, ...shown));
}

/** Lets a long text break where its words end. */
const breakable = (text) => text.split(/(?<=[_:/@])/).flatMap((part) => [part, element("wbr")]);

function clock(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
