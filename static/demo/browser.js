// What this browser holds. Every answer's text is searched for tokens: the app would notice if one ever came.
import { $, element } from "./page.js";

const seen = { answers: 0, tokens: 0 };
const TOKEN = /eyJ[\w-]{8,}\.[\w-]{8,}\.|dev-(?:access|refresh|code)-|"(?:access|refresh|id)_token"\s*:/;

const plainFetch = window.fetch;
window.fetch = async (...call) => {
  const response = await plainFetch(...call);
  seen.answers += 1;
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  response.clone().text().then((text) => inspect(headers + text), () => {});
  return response;
};

export function inspect(text) {
  if (TOKEN.test(text)) seen.tokens += 1;
}

export async function searchBrowser() {
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
  return element("li", { className: found ? "bad" : "good" }, element("b", { text: what }), element("span", { text: found || nothing }));
}

$("look-again").addEventListener("click", searchBrowser);
