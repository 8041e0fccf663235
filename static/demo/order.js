// A form whose draft survives a login. It lies in this tab's session storage only while the page is away, and is for nobody but
// the person who wrote it.
import { fetch } from "/bff/cloakroom.js";
import { $ } from "./page.js";

const KEY = "draft";
const fields = [$("coat"), $("wish")];
let writer = null;

/** Before the page leaves for the login. */
export function keepDraft() {
  const values = fields.map((field) => field.value);
  if (values.some(Boolean)) sessionStorage.setItem(KEY, JSON.stringify({ writer, values }));
}

/** Somebody is logged in: their draft comes back, that of another goes. */
export function bringDraftBack(sub) {
  if (writer !== null && writer !== sub) forgetDraft();
  writer = sub;
  const kept = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  const draft = kept && JSON.parse(kept);
  if (!draft || (draft.writer ?? sub) !== sub) return;
  fields.forEach((field, index) => (field.value ||= draft.values[index]));
  $("order-status").textContent = "Your draft is still here.";
}

function forgetDraft() {
  $("order").reset();
  $("order-status").textContent = "";
}

$("order").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("order-status").textContent = "";
  const [coat, wish] = fields.map((field) => field.value);
  try {
    const response = await fetch("/api/orders", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ coat, wish }),
    });
    if (response.ok) $("order").reset();
    $("order-status").textContent = response.ok ? "The API has your order." : `The API does not have your order yet (${response.status}).`;
  } catch {
    $("order-status").textContent = "Cloakroom cannot be reached. Your draft is still here.";
  }
});
