// What makes the pages of logd more comfortable. They are whole without it.
// It talks to the server that the page is from, and to no other, and puts nothing into a
// page but what that server has made one of.

const policy = globalThis.trustedTypes?.createPolicy("logd", { createHTML: (html) => html });
const parse = (html) => new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, "text/html");
const $ = (selector, of = document) => of.querySelector(selector);
const $$ = (selector, of = document) => [...of.querySelectorAll(selector)];

// What is kept: the token in this tab until it is closed; how it looks for good.
const stored = (of, key, value) => {
  try {
    if (value === undefined) return of().getItem(key);
    if (value === null) of().removeItem(key);
    else of().setItem(key, value);
  } catch {} // storage may be forbidden
  return null;
};
const tab = () => sessionStorage;
const look = () => localStorage;
const token = () => stored(tab, "logd-token");

const headers = (accept) => {
  const h = { Accept: accept };
  if (token()) h.Authorization = "Bearer " + token();
  return h;
};

// get returns a page, or null if there is none to be had.
const get = async (url, signal) => {
  const answer = await fetch(url, { headers: headers("text/html"), signal, cache: "no-store", redirect: "error", credentials: "same-origin" });
  if (!(answer.headers.get("Content-Type") ?? "").startsWith("text/html")) throw new Error("HTTP " + answer.status);
  return { page: parse(await answer.text()), status: answer.status };
};

// show puts what a page has in the place of what is shown.
const show = (page) => {
  document.title = page.title;
  for (const id of ["status", "main"]) {
    const now = document.getElementById(id), next = page.getElementById(id);
    if (now && next) now.replaceWith(document.adoptNode(next));
  }
  const links = $$("header nav a", page);
  $$("header nav a").forEach((a, i) => {
    if (links[i]?.hasAttribute("aria-current")) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  });
  ready();
};

// go shows another page without leaving this one: that alone carries a token.
const go = async (url, push = true) => {
  stop();
  try {
    const { page } = await get(url);
    // A page finds others from where it is, and so does what is taken of it.
    if (push) history.pushState(null, "", url);
    $$("header a[href]").forEach((a, i) => {
      const from = $$("header a[href]", page)[i];
      if (from) a.setAttribute("href", from.getAttribute("href"));
    });
    show(page);
    scrollTo(0, 0);
    if (!$("#main").contains(document.activeElement)) $("#main").focus({ preventScroll: true });
  } catch {
    location.href = url;
  }
};

// --- times
const about = (ms) => {
  const s = Math.max(ms, 0) / 1000;
  if (s < 10) return s.toFixed(1) + " s";
  if (s < 100) return Math.floor(s) + " s";
  if (s < 6000) return Math.floor(s / 60) + " min";
  if (s < 172800) return Math.floor(s / 3600) + " h";
  return Math.floor(s / 86400) + " d";
};
let made = Date.now(); // when what is shown came

const tick = () => {
  if (document.hidden) return;
  const passed = Date.now() - made;
  for (const t of $$("time.age")) {
    t.ago ??= agoOf(t.textContent, made - new Date(t.dateTime).getTime());
    t.textContent = about(t.ago + passed);
    t.title = t.dateTime;
  }
  const u = $("#updated");
  if (u && passed < 2 * liveEvery) u.textContent = passed < 1500 ? "now" : about(passed) + " ago";
};
// agoOf returns the age that the server has written, exactly if both clocks agree on it.
const agoOf = (text, byClock) => {
  const [n, unit] = text.split(" ");
  const one = { s: 1e3, min: 6e4, h: 36e5, d: 864e5 }[unit];
  const said = Number(n) * one;
  return byClock >= said && byClock < said + one ? byClock : said;
};

const local = (on, of = document) => {
  const two = (n, w = 2) => String(n).padStart(w, "0");
  for (const t of $$("time.at", of)) {
    t.utc ??= t.textContent;
    t.title = t.dateTime;
    const d = new Date(t.dateTime);
    const day = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} `;
    const now = new Date();
    const today = d.toDateString() === now.toDateString();
    t.textContent = on ? (today ? "" : day) + `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${two(d.getMilliseconds(), 3)}` : t.utc;
  }
  for (const z of $$(".zone")) z.textContent = on ? "in the zone of this browser" : "in UTC";
};
const isLocal = () => $("#zone")?.value === "local";

// --- pages that are had anew
const liveEvery = 5000, followEvery = 1000, soonest = 100, mostRows = 1000;
let paused = false, timer = 0, running = null;

const stop = () => {
  clearTimeout(timer);
  timer = 0;
  running?.abort();
  running = null;
};
const later = (f, ms) => {
  clearTimeout(timer);
  timer = setTimeout(f, ms);
};

const busy = () => {
  const a = document.activeElement;
  return (a && a.matches("input, select") && $("#main").contains(a)) || String(getSelection()) !== "" || $("dialog[open]");
};

const renew = async () => {
  if (paused || document.hidden || !$("#main[data-live]")) return;
  if (busy()) return later(renew, liveEvery);
  running = new AbortController();
  try {
    const { page, status } = await get(location.href, running.signal);
    if (status === 503) throw new Error($("h1", page)?.textContent ?? "HTTP 503");
    const at = $$("tbody tr").indexOf($("tr.at")), focus = focused(), x = $$(".scroll").map((s) => s.scrollLeft);
    const open = $$("details").map((d) => d.open);
    show(page);
    if (at >= 0) mark($$("tbody tr")[at], false);
    refocus(focus);
    $$(".scroll").forEach((s, i) => (s.scrollLeft = x[i] ?? 0));
    $$("details").forEach((d, i) => (d.open = open[i] ?? false));
  } catch (e) {
    if (e.name === "AbortError") return;
    const u = $("#updated");
    if (u) u.textContent = about(Date.now() - made) + " ago; it can't be had anew: " + e.message;
    later(renew, liveEvery);
  }
};
// The link that has the focus is found again by its address, others by their ids.
const focused = () => {
  const a = document.activeElement;
  return !a || a === document.body ? null : a.id ? "#" + CSS.escape(a.id) : a.getAttribute("href") ? `main a[href="${CSS.escape(a.getAttribute("href"))}"]` : null;
};
const refocus = (selector) => selector && $(selector)?.focus({ preventScroll: true });

// --- following messages
const following = () => $("#follow")?.dataset.on === "1";

// pull has what came since, and puts it below what there is.
const pull = async () => {
  if (!following() || document.hidden) return;
  const list = $("#messages"), say = $("#following");
  const url = new URL(location.href);
  url.searchParams.set("from", list.dataset.next);
  url.searchParams.set("n", "500");
  url.searchParams.set("follow", "1");
  url.searchParams.delete("refresh");
  running = new AbortController();
  let wait = followEvery;
  const begun = Date.now();
  try {
    const { page, status } = await get(url, running.signal);
    if (status >= 400) throw new Error($("h1", page)?.textContent ?? "HTTP " + status);
    const more = page.getElementById("messages");
    if (list.localName !== "tbody" && more.localName === "tbody") {
      show(page); // the first message
      setFollowing(true);
      return;
    }
    const rows = $$("tr", more);
    if (rows.length) {
      const bottom = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
      list.append(...rows.map((r) => document.adoptNode(r)));
      while (list.rows.length > mostRows) list.deleteRow(0);
      local(isLocal(), list);
      if (bottom) scrollTo(0, document.documentElement.scrollHeight);
    }
    list.dataset.next = more.dataset.next;
    // The server waits for a message, unless too many wait already.
    if (rows.length || Date.now() - begun > followEvery) wait = soonest;
    say.textContent = "following";
  } catch (e) {
    if (e.name === "AbortError") return;
    say.textContent = "waits: " + e.message;
    wait = 5 * followEvery;
  }
  later(pull, wait);
};
const setFollowing = (on) => {
  const link = $("#follow");
  if (!link) return;
  stop();
  link.dataset.on = on ? "1" : "";
  link.textContent = on ? "■ stop following" : "● follow";
  $("#following").textContent = on ? "following" : "";
  if (!on) return;
  scrollTo(0, document.documentElement.scrollHeight);
  pull();
};

// --- rows and keys
const mark = (row, focus = true) => {
  if (!row) return;
  $("tr.at")?.classList.remove("at");
  row.classList.add("at");
  row.scrollIntoView({ block: "nearest" });
  if (focus) $("a", row)?.focus({ preventScroll: true });
};
const move = (by) => {
  const rows = $$("table.rows tbody tr");
  if (!rows.length) return;
  const at = rows.indexOf($("tr.at"));
  mark(rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1)]);
};
const keysOn = () => stored(look, "logd-keys") !== "off";

const help = () => {
  if ($("dialog")) return $("dialog").showModal();
  const d = document.createElement("dialog");
  d.setAttribute("aria-label", "Keys");
  const list = document.createElement("dl");
  for (const [key, what] of [["/", "to the filter"], ["j", "to the next row"], ["k", "to the row before"], ["Enter", "open what the row is about"], ["f", "follow the messages, or stop"], ["?", "this list"]]) {
    const dt = document.createElement("dt"), kbd = document.createElement("kbd"), dd = document.createElement("dd");
    kbd.textContent = key;
    dd.textContent = what;
    dt.append(kbd);
    list.append(dt, dd);
  }
  const label = document.createElement("label"), box = document.createElement("input"), close = document.createElement("button"), p = document.createElement("p");
  box.type = "checkbox";
  box.checked = keysOn();
  box.addEventListener("change", () => stored(look, "logd-keys", box.checked ? null : "off"));
  label.append(box, " Keys do that");
  close.textContent = "Close";
  close.type = "button";
  close.addEventListener("click", () => d.close());
  p.append(label);
  d.append(list, p, close);
  document.body.append(d);
  d.showModal();
};

document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || !keysOn()) return;
  if (e.target.matches("input, select, textarea, [contenteditable]") || $("dialog[open]")) return;
  const does = {
    "/": () => $("#filter")?.focus(), j: () => move(1), k: () => move(-1), f: () => $("#follow") && setFollowing(!following()), "?": help,
  }[e.key];
  if (!does) return; // Enter is for the link of the row, which has the focus
  e.preventDefault();
  does();
});

// --- clicks
document.addEventListener("click", async (e) => {
  const a = e.target.closest?.("a[href]");
  if (e.target.closest?.("#pause")) {
    paused = !paused;
    e.target.textContent = paused ? "go on" : "pause";
    if (paused) stop();
    else renew();
    return;
  }
  if (!a || e.button !== 0 || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey || e.defaultPrevented) return;
  if (a.id === "follow") {
    e.preventDefault();
    setFollowing(!following());
    return;
  }
  if (!token() || a.origin !== location.origin || a.getAttribute("href").startsWith("#")) return;
  e.preventDefault();
  if (!a.classList.contains("whole")) return go(a.href);
  const answer = await fetch(a.href, { headers: headers("*/*") });
  if (!answer.ok) return;
  const save = document.createElement("a");
  save.href = URL.createObjectURL(await answer.blob());
  save.download = decodeURIComponent(a.pathname.split("/").slice(-3).join("-").replace("-messages", ""));
  save.click();
  setTimeout(() => URL.revokeObjectURL(save.href), 60000);
});
document.addEventListener("submit", (e) => {
  const form = e.target;
  if (form.id === "token") {
    e.preventDefault();
    stored(tab, "logd-token", $("input", form).value.trim());
    go(location.href, false);
  } else if (token() && form.method === "get") {
    e.preventDefault();
    const url = new URL(form.action);
    url.search = new URLSearchParams(new FormData(form)).toString();
    go(url.href);
  }
});
document.addEventListener("change", (e) => {
  if (e.target.id !== "zone") return;
  local(isLocal());
  const url = new URL(location.href);
  if (isLocal()) url.searchParams.set("time", "local");
  else url.searchParams.delete("time");
  history.replaceState(null, "", url);
});
addEventListener("popstate", () => go(location.href, false));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return stop();
  tick();
  if (following()) pull();
  else renew();
});

// --- how it looks
const theme = stored(look, "logd-theme");
if (theme) document.documentElement.dataset.theme = theme;
$("#theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark" || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  stored(look, "logd-theme", (document.documentElement.dataset.theme = dark ? "light" : "dark"));
});
$("#keys").addEventListener("click", help);
$(".tools").hidden = false;

// ready is for what a page has that was just shown.
const ready = () => {
  made = Date.now();
  stop();
  for (const e of $$(".needs-script, .live")) e.hidden = false;
  if (isLocal()) local(true);
  const form = $("#token");
  if (form) $("input", form).focus();
  if (form?.dataset.unknown) stored(tab, "logd-token", null);
  if (paused && $("#pause")) $("#pause").textContent = "go on";
  if ($("#main[data-live]") && !paused) later(renew, liveEvery);
};
ready();
if (following()) setFollowing(true);
if ($("#token") && token()) go(location.href, false);
setInterval(tick, 1000);
