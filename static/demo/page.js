// What every view needs: elements, the notice on top, the question before a login.

export const $ = (id) => document.getElementById(id);

export function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export function element(name, { text, className } = {}, ...children) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  made.append(...children);
  return made;
}

export function time(moment) {
  const made = element("time", { text: new Date(moment).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }) });
  made.dateTime = moment;
  return made;
}

/** What takes the notice away by itself: "reached", "logged in", "extended", or nothing. */
let noticeUntil;

export function notify(text, { logIn = false, stay = false, until } = {}) {
  noticeUntil = until;
  $("notice-text").textContent = text;
  $("notice-log-in").hidden = !logIn;
  $("notice-stay").hidden = !stay;
  $("notice").hidden = false;
}

export function hideNotice() {
  noticeUntil = undefined;
  $("notice").hidden = true;
}

export function settle(what) {
  if (noticeUntil === what) hideNotice();
}

/** Whether the person says yes. */
export function ask(title, text) {
  const dialog = $("ask");
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((answer) => {
    dialog.addEventListener("close", () => answer(dialog.returnValue === "yes"), { once: true });
  });
}

$("notice-close").addEventListener("click", hideNotice);
