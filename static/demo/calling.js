// The view that calls the API.
import { fetch as ours } from "/bff/cloakroom.js";
import { $, parse } from "./page.js";

/** The call whose answer is shown. A newer one ends it. */
let current = new AbortController();

async function send(method, path, withHeader) {
  current.abort();
  const { signal } = (current = new AbortController());
  const options = { method, signal };
  if (method === "POST") {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify({ coat: "green", pockets: 2 });
  }
  $("answer").hidden = false;
  $("answer").dataset.kind = "";
  $("status").textContent = `${method} ${path} …`;
  $("body").textContent = "";
  const started = performance.now();
  try {
    // The header is what the module's fetch adds.
    const response = await (withHeader ? ours : fetch)(path, options);
    const text = await readAlong(response, signal);
    if (!signal.aborted) showAnswer(response, text, Math.round(performance.now() - started));
  } catch {
    if (signal.aborted) return;
    $("answer").dataset.kind = "bad";
    $("status").textContent = `${method} ${path}: no answer`;
    $("body").textContent = "Cloakroom cannot be reached, or the connection broke.";
  }
}

/** Shows a body while it arrives, so that a stream is seen as one. */
async function readAlong(response, signal) {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader?.read(); part && !part.done && !signal.aborted; part = await reader.read()) {
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

/** An answer is for the person who called. */
export function forgetAnswer() {
  current.abort();
  $("answer").hidden = true;
  $("body").textContent = $("status").textContent = "";
}

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
