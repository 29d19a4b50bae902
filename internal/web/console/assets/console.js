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

const json = (text) => {
  try {
    return JSON.parse(text);
  } catch {} // it is none
};
// wrong returns what the API has refused, in its words.
const wrong = (answer, data) => Object.assign(new Error(data?.detail ? `${data.title}. ${data.detail}` : "HTTP " + answer.status), { status: answer.status, leader: data?.leader_http });

// go shows another page without leaving this one: that alone carries a token.
const go = async (url, push = true) => {
  stop();
  try {
    const { page } = await get(url);
    // A page finds others from where it is, and so does what is taken of it.
    if (push) history.pushState(null, "", url);
    document.body.dataset.root = page.body.dataset.root;
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
const liveEvery = 5000;
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
    if (busy()) return later(renew, liveEvery); // by now
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
// The events of a topic are read as they come. What is shown of one is what the server
// shows of it on a page: body.go is the model.
const mostRows = 1000, farBehind = 5000, updateEvery = 100, mostHeld = 8e6, silence = 40000;
const shownBody = 4096, shownHex = 256, deepJSON = 32, prettyJSON = 4 * shownBody;
const encoder = new TextEncoder(), utf8 = () => new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });
const hidden = /(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
const spaces = "[\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const around = new RegExp(`^${spaces}|${spaces}$`, "g");
const hex = (n, digits) => n.toString(16).padStart(digits, "0");
const valid = (bytes) => {
  try {
    return utf8().decode(bytes);
  } catch {}
};
// ends reports whether the last character of some bytes is one.
const ends = (b) => {
  let at = b.length - 1;
  if (b[at] < 0x80) return true;
  for (at--; at >= Math.max(b.length - 4, 0) && (b[at] & 0xc0) === 0x80; at--);
  return [...(valid(b.subarray(Math.max(at, 0))) ?? "")].length === 1;
};
const dump = (b) => {
  let text = "";
  for (let at = 0; at < b.length; at += 16) {
    text += hex(at, 8) + "  ";
    for (let i = 0; i < 16; i++) text += (at + i < b.length ? hex(b[at + i], 2) : "  ") + (i === 7 ? "  " : " ");
    text += " |" + [...b.subarray(at, at + 16)].map((c) => (c < 32 || c > 126 ? "." : String.fromCharCode(c))).join("") + "|\n";
  }
  return text;
};
const indent = (body) => {
  const text = body.replace(around, "");
  if (!/^[{[]/.test(text)) return body;
  if (!json(text)) return body;
  let out = "", depth = 0, begun = false;
  const line = () => (out += "\n" + "  ".repeat(depth));
  for (const [word] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    const closes = word === "}" || word === "]";
    if (begun && !closes) depth++, line();
    if (closes && !begun) depth--, line();
    out += word;
    begun = word === "{" || word === "[";
    if (begun && depth >= deepJSON) return body;
    if (word === ",") line();
    if (word === ":") out += " ";
  }
  return encoder.encode(out).length > prettyJSON ? body : out;
};
const el = (name, props, ...children) => {
  const e = Object.assign(document.createElement(name), props);
  e.append(...children);
  return e;
};
const bodyCell = (m, { pretty, path }) => {
  let text = m.body, bytes = null, shown = null;
  if (text === undefined) bytes = Uint8Array.from(atob(m.body_base64), (c) => c.charCodeAt(0));
  else if (text.length > shownBody / 3) bytes = encoder.encode(text);
  let isHex = false;
  if (bytes) {
    shown = bytes.subarray(0, shownBody);
    if (shown.length < bytes.length) for (let i = 0; i < 3 && !ends(shown); i++) shown = shown.subarray(0, -1);
    text = valid(shown);
    if (text === undefined) {
      isHex = true;
      shown = bytes.subarray(0, shownHex);
      text = dump(shown);
    }
  }
  const cut = bytes && shown.length < bytes.length;
  if (pretty && !cut && !isHex) text = indent(text);
  const pre = el("pre", isHex ? { className: "hex" } : {}), td = el("td", {}, pre);
  let at = 0;
  for (const { 0: c, index } of text.matchAll(hidden)) {
    const n = c.codePointAt(0);
    pre.append(text.slice(at, index), el("b", { className: "esc" }, c === "\r" ? "\\r" : n < 256 ? "\\x" + hex(n, 2) : `\\u{${n.toString(16)}}`));
    at = index + c.length;
  }
  pre.append(text.slice(at));
  if (isHex) td.append(el("p", { className: "hint" }, "no UTF-8: bytes in hexadecimal"));
  if (cut) td.append(el("p", { className: "hint" }, `${size(shown.length)} of ${size(bytes.length)} · `, el("a", { className: "whole", href: `${path}/${m.id}`, download: "" }, "whole message")));
  return td;
};
const messageRow = (m, of) => {
  const time = m.time ? el("time", { className: "at", dateTime: m.time }, (m.time.slice(0, 10) === new Date().toISOString().slice(0, 10) ? "" : m.time.slice(0, 10) + " ") + m.time.slice(11, 23)) : "–";
  return el("tr", {}, el("td", {}, el("a", { href: "?from=" + m.id }, m.id)), el("td", {}, time), bodyCell(m, of));
};
const gapRow = (words) => el("tr", { className: "gap" }, el("td", { colSpan: 3 }, words));
const lost = { retention: "removed by retention", damage: "damaged and set aside", lost: "lost" };
const following = () => $("#follow")?.dataset.on === "1";
const offsetOf = (id) => Number(id.split(".")[0]);

// A browser has six connections to a server, for all its tabs together, and what is one too
// many waits without end, be it a page. So of the tabs that are seen and follow, the four that
// were opened first have a stream all the time, and the others by turns. Each tells the others
// that it follows. Who waits for its turn says nothing, for 3 s at most.
const mostStreams = 4, turn = 1000, me = Date.now() + Math.random(), tabs = new Map();
const channel = globalThis.BroadcastChannel && new BroadcastChannel("logd-follow");
if (channel) channel.onmessage = ({ data }) => tabs.set(data, Date.now());
const byTurns = () => {
  for (const [id, at] of tabs) if (Date.now() - at > 5 * turn) tabs.delete(id);
  return [...tabs.keys()].filter((id) => id < me).length >= mostStreams;
};

let slice = 200; // so many rows are made at a time
const down = () => scrollTo(0, document.documentElement.scrollHeight);

// follow shows what comes, until the stream ends or stop is called. What has come is known
// by the list: where to go on, and what is held to be shown.
const follow = async () => {
  if (!following() || document.hidden) return;
  const list = $("#messages"), say = $("#following"), asked = new URL(location.href).searchParams;
  const path = `${document.body.dataset.root}/api/v1/${$("#follow").dataset.stream}`, topic = $("#follow").dataset.stream.replace(/\/messages$/, "");
  const contains = asked.get("contains") ?? "", as = { pretty: asked.get("pretty") !== "0", path };
  const needle = contains && String.fromCharCode(...encoder.encode(contains));
  const control = (running = new AbortController()), { signal } = control;
  let held = [], bytes = 0, skipped = 0, about = "", drawn = 0, drawing = 0, came = 0, again = 2000, heard = Date.now(), opened = Infinity, over = false, reader;
  channel?.postMessage(me);
  const tell = () => {
    const words = byTurns() ? "following, by turns with other tabs" : "following";
    if (say.textContent !== words) say.textContent = words; // it is read out
  };
  const watch = setInterval(() => {
    channel?.postMessage(me);
    if (opened < Infinity) tell();
    if (Date.now() - heard > silence || (Date.now() - opened > turn && byTurns())) reader?.cancel();
  }, turn);

  const draw = (all) => {
    drawing = 0;
    const begun = performance.now(), bottom = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
    if (all) leave(mostRows - 10);
    const rows = held.splice(0, all ? held.length : slice).map((m) => (m.gap ? gapRow(m.gap) : messageRow(JSON.parse(m.data), as)));
    if (skipped) rows.unshift(gapRow(`${about}${exact(skipped)} messages not shown: more came than a page can show`));
    leave(held.length);
    skipped = 0;
    about = "";
    for (let over = list.rows.length + rows.length - mostRows; over > 0 && list.rows.length; over--) list.deleteRow(0);
    list.append(...rows);
    list.closest(".scroll").hidden = false;
    $("#none").hidden = true;
    if (isLocal()) local(true, list);
    // How high rows are is known when they were drawn.
    if (bottom) down(), requestAnimationFrame(() => requestAnimationFrame(down));
    // What takes long is done more seldom, and less at a time: keys are not to wait.
    const took = performance.now() - begun;
    drawn = performance.now() + 2 * took;
    slice = took > 50 ? Math.max(slice >> 1, 20) : took < 25 ? Math.min(slice * 2, mostRows - 10) : slice;
    if (took > 50) list.closest("table").classList.add("fast");
    else if (rows.length < 20) list.closest("table").classList.remove("fast");
    if (held.length) drawing = setTimeout(draw, updateEvery + 2 * took);
  };
  // leave leaves so many of what is held: the newest.
  const leave = (n) => {
    const over = held.splice(0, Math.max(held.length - n, 0)), gaps = over.filter((m) => m.gap);
    skipped += over.length - gaps.length;
    held.unshift(...gaps.slice(-9));
    bytes = held.reduce((sum, m) => sum + (m.data?.length ?? 0), 0);
  };
  const hold = (m) => {
    held.push(m);
    bytes += m.data?.length ?? 0;
    if (held.length > farBehind) leave(mostRows >> 1);
    while (bytes > mostHeld && held.length > 1) leave(held.length >> 1);
    drawing ||= setTimeout(draw, Math.max(drawn + updateEvery - performance.now(), 0));
  };
  // far goes on at the end if that is too far away: how far is reckoned by the mean
  // length of a message, which is what there is to know without reading all of them.
  const far = async (from, end) => {
    if (list.left || end - from < 2 * farBehind) return;
    const { data: t } = await api("GET", topic);
    const mean = t.messages / Math.max(t.next - t.oldest, 1);
    if ((t.next - from) * mean <= farBehind) return;
    list.left = { from, mean };
    list.at = "";
    over = true;
    again = 0;
    await reader.cancel();
  };
  const take = (event) => {
    const [, name, id, data] = /^(?:event: (\w+)\n)?(?:id: (\S+)\n)?data: ([^]*)$/.exec(event) ?? [];
    if (event.startsWith("retry: ")) again = Number(event.slice(7));
    if (over || data === undefined) return;
    if (id && !list.left) list.at = id;
    if (!name) {
      came++;
      const m = contains && JSON.parse(data);
      if (!m || (m.body === undefined ? atob(m.body_base64).includes(needle) : m.body.includes(contains))) hold({ data });
      return;
    }
    const said = JSON.parse(data);
    if (name === "topic") {
      tell();
      list.topic = said.topic_id;
      if (list.left) {
        skipped += Math.max(Math.round((offsetOf(said.from) - list.left.from) * list.left.mean), 0);
        about = "about ";
        list.left = null;
        list.at = id;
      } else return far(offsetOf(said.from), said.end);
    }
    if (name === "gap") hold({ gap: `gap: ${exact(BigInt(said.to.split(".")[0]) - BigInt(said.from.split(".")[0]))} bytes ${lost[said.cause]}` });
    if (name === "deleted") throw Object.assign(new Error("The topic was deleted."), { status: 404 });
  };
  const url = new URL(path, location.href);
  if (list.left) url.searchParams.set("from", "-" + list.dataset.n);
  else if (!list.at) url.searchParams.set("from", list.dataset.next);
  if (list.topic) url.searchParams.set("id", list.topic);
  try {
    const answer = await fetch(url, { headers: { ...headers("text/event-stream"), ...(list.at && { "Last-Event-ID": list.at }) }, signal, cache: "no-store", redirect: "error", credentials: "same-origin" });
    if (!answer.ok) throw wrong(answer, json(await answer.text()));
    reader = answer.body.getReader();
    opened = Date.now();
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    let parts = [], last = "", second = heard, rested = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      heard = Date.now();
      const text = decoder.decode(value, { stream: true });
      parts.push(text);
      const whole = (last + text).includes("\n\n"); // a long event comes in many pieces
      last = text.slice(-1);
      if (!whole) continue;
      const all = parts.join(""), end = all.lastIndexOf("\n\n");
      parts = [all.slice(end + 2)];
      last = parts[0].slice(-1);
      for (const event of all.slice(0, end).split("\n\n")) {
        const more = take(event);
        if (more) await more;
        if (performance.now() - rested < 15) continue;
        await new Promise((go) => setTimeout(go)); // keys and drawing have their turn
        rested = performance.now();
      }
      // Who gets much may also get behind what is written.
      if (heard - second < 1000) continue;
      if (came > farBehind / 10) await far(offsetOf(list.at), Infinity);
      second = heard;
      came = 0;
    }
  } catch (e) {
    if (signal.aborted) return;
    if (e.status >= 400 && e.status < 500 && e.status !== 429 && e.status !== 423) {
      setFollowing(false);
      say.textContent = e.message;
      return;
    }
    say.textContent = "waits: " + e.message;
  } finally {
    clearInterval(watch);
    clearTimeout(drawing);
    if (held.length) draw(true); // where it goes on is behind that
  }
  if (!signal.aborted) later(follow, again);
};
const setFollowing = (on) => {
  const link = $("#follow[data-stream]");
  if (!link) return; // the page comes anew by itself
  stop();
  link.dataset.on = on ? "1" : "";
  link.textContent = on ? "■ stop following" : "● follow";
  $("#following").textContent = "";
  if (!on) return;
  down();
  follow();
};

// --- what changes something
// Nothing is done before the server has told what it would do, and the name was typed.
const api = async (method, path, body, more) => {
  const answer = await fetch(`${document.body.dataset.root}/api/v1/${path}`, {
    method, headers: { ...headers("application/json"), "Content-Type": "application/json", ...more }, body: body && JSON.stringify(body),
    cache: "no-store", redirect: "manual", credentials: "same-origin",
  });
  if (answer.type === "opaqueredirect") throw new Error("Another member leads, and only that one can do it: open its pages.");
  const text = await answer.text(), data = json(text);
  if (!answer.ok) throw wrong(answer, data);
  return { data, text, tag: answer.headers.get("ETag") };
};
const exact = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");
const size = (n) => {
  const units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
  let i = 0;
  for (; i < 6 && n >= 999.5; i++) n /= 1000;
  return (i && n < 99.5 ? String(+n.toPrecision(3)) : n.toFixed(0)) + " " + units[i];
};
const many = (n, one, more = one + "s") => `${exact(n)} ${n === 1 ? one : more}`;
const sum = (t) => `${many(t.messages, "message")} (${size(t.bytes)}) in ${many(t.partitions, "partition")}`;
const hooks = (list) => (list.length ? ` The delete hook runs first for ${many(list.length, "partition")}, and a partition goes when its hook has succeeded.` : "");
const topicOf = (d) => "topics/" + encodeURIComponent(d.topic);
const positionOf = (d) => `${topicOf(d)}/positions/${encodeURIComponent(d.consumer)}`;
const forced = (d) => (d.forced ? "?force=1" : "");
const version = (was) => (was ? { "If-Match": was.tag } : { "If-None-Match": "*" });
const heldBy = (p) => (p.holder ? ` ${p.holder} holds it.` : "");

// plan returns what would be done, in words, and whether it can be; run does it and
// returns what was done. d has what the button is about and what was filled in.
const acts = {
  trim: {
    plan: async (d) => {
      const { data, text } = await api("POST", topicOf(d) + "/trim", { before: d.before, dry_run: true });
      d.oldest = /"oldest":(\d+)/.exec(text)[1]; // which may be more than a number holds
      if (!data.partitions) return [`Nothing would go: no partition ends before that. The oldest offset stays ${d.oldest}.`, false];
      const unread = (await api("GET", topicOf(d) + "/positions").catch(() => null))?.data.positions.filter((p) => BigInt(p.at.split(".")[0]) < BigInt(d.oldest)).map((p) => p.consumer) ?? [];
      return [`${sum(data)} would go: all before offset ${d.oldest}.${hooks(data.hooks)}${unread.length ? ` Not done with all of it: ${unread.slice(0, 5).join(", ")}${unread.length > 5 ? ` and ${unread.length - 5} more` : ""}.` : ""}`];
    },
    run: async (d) => {
      const { data, text } = await api("POST", topicOf(d) + "/trim", { before: d.oldest });
      const oldest = /"oldest":(\d+)/.exec(text)[1];
      return oldest === d.oldest ? `Removed ${sum(data)}. The oldest offset is ${oldest}.` : `The oldest offset is ${oldest}, and ${d.oldest} when the delete hooks have run.`;
    },
  },
  delete: {
    plan: async (d) => {
      const { data, tag } = await api("GET", topicOf(d) + "?fresh=1");
      d.tag = tag;
      const n = data.positions?.length;
      return [`${sum(data)} would go${n ? `, and the ${n === 1 ? "position" : "positions"} of ${many(n, "consumer")}` : ""}.`];
    },
    run: async (d) => {
      await api("DELETE", topicOf(d) + (d.now ? "?now=1" : ""), undefined, { "If-Match": d.tag });
      d.gone = true;
      return `${d.topic} is deleted.`;
    },
  },
  move: {
    plan: async (d) => {
      d.was = await api("GET", positionOf(d)).catch((e) => {
        if (e.status !== 404) throw e;
        return null;
      });
      const { data } = await api("PUT", positionOf(d), { at: d.at, dry_run: true });
      d.to = data.at;
      const was = d.was?.data;
      if (!was) return [`${d.consumer} has no position here yet. It would go on at ${d.to}.`];
      if (was.at === d.to) return [`${d.consumer} is at ${d.to} already.`, false];
      const n = data.bytes;
      return [`${d.consumer} is at ${was.at} and would go on at ${d.to}: ${n ? size(Math.abs(n)) + (n > 0 ? " are skipped" : " come again") : "that is in the same batch"}.${heldBy(was)}`];
    },
    run: async (d) => {
      const was = d.was?.data;
      await api("PUT", positionOf(d) + forced(d), { at: d.to, ttl_ms: was?.ttl_ms, note: was?.note }, version(d.was));
      return `${d.consumer} goes on at ${d.to}.`;
    },
  },
  forget: {
    plan: async (d) => {
      d.was = await api("GET", positionOf(d));
      return [`${d.consumer} is at ${d.was.data.at}, which would be forgotten.${heldBy(d.was.data)}`];
    },
    run: async (d) => {
      await api("DELETE", positionOf(d) + forced(d), undefined, version(d.was));
      return `The position of ${d.consumer} is forgotten.`;
    },
  },
  set: {
    plan: async (d) => {
      const value = d.value.trim() || null;
      d.patch = { [d.key.replaceAll("-", "_")]: value };
      const { data } = await api("PATCH", topicOf(d) + "/settings?dry_run=1", d.patch);
      const gone = data.partitions.filter((p) => p.verdict === "remove");
      const t = { partitions: gone.length, bytes: 0, messages: 0 };
      for (const p of gone) (t.bytes += p.bytes), (t.messages += p.messages ?? 0);
      return [`${value === null ? `${d.topic} would have no ${d.key} of its own` : `${d.key} would be ${value}`}: ${gone.length ? sum(t) + " would go soon." : "nothing would be removed by that now."}`];
    },
    run: async (d) => {
      const { data } = await api("PATCH", topicOf(d) + "/settings", d.patch);
      const is = data.settings[d.key.replaceAll("-", "_")];
      return `${d.key} is ${is.value}: ${is.origin}.`;
    },
  },
  lead: {
    plan: async (d) => {
      d.word = d.to;
      const { data } = await api("GET", "cluster");
      const is = data.members.find((m) => m.name === d.to);
      return [`${d.to} leads ${is?.leads ?? 0} of ${many(data.groups, "group")}, and would lead all of them.`];
    },
    run: async (d) => {
      await api("POST", "cluster/transfer", { to: d.to, all: true });
      return `${d.to} leads all groups.`;
    },
  },
  group: {
    plan: async (d) => {
      d.word = d.to;
      const is = (await api("GET", "groups")).data.find((g) => String(g.group) === d.group);
      return [`Group ${d.group} has ${many(is?.topics ?? 0, "topic")} and ${is?.leader ? "is led by " + is.leader : "no leader"}. ${d.to} would lead it.`];
    },
    run: async (d) => {
      await api("POST", "cluster/transfer", { to: d.to, group: Number(d.group) });
      return `${d.to} leads group ${d.group}.`;
    },
  },
};
const over = "The partition waits for no hook any more.";
for (const what of ["retry", "skip"]) {
  acts[what] = {
    plan: async (d) => {
      const is = (await api("GET", "hooks")).data.find((h) => h.topic === d.topic && String(h.base) === d.base);
      if (!is) return [over, false];
      return [`The partition has ${size(is.end - is.base)}, and the hook was run ${many(is.attempts, "time")}${is.error ? ", at last with: " + is.error : "."}`];
    },
    run: async (d) => {
      try {
        await api("POST", `hooks/${encodeURIComponent(d.topic)}/${d.base}`, { do: what });
      } catch (e) {
        if (e.status === 404) return over; // the hook is run again by itself, too
        throw e;
      }
      return what === "retry" ? "The hook is run." : "The partition goes.";
    },
  };
}

const openAct = (button) => {
  const d = { ...button.dataset, word: button.dataset.topic }, dialog = $("#act-" + d.act);
  stop();
  dialog.about = d;
  dialog.opener = button.id;
  for (const f of $$("form", dialog)) f.reset();
  for (const e of $$("[data-v]", dialog)) e.textContent = d[e.dataset.v] ?? "";
  for (const e of $$("[data-if]", dialog)) e.hidden = !d[e.dataset.if];
  const asks = $(".ask", dialog), who = $("[name=consumer]", dialog), to = $("select[name=to]", dialog);
  if (who) {
    who.value = d.consumer ?? "";
    who.readOnly = d.consumer !== undefined;
    $("[name=at]", dialog).value = d.at ?? "";
  }
  if (d.key) $("[name=value]", dialog).value = d.value;
  to?.replaceChildren(...d.others.split(",").map((name) => new Option(name)));
  if (asks) asks.hidden = false;
  $("[data-close]", dialog).textContent = "Cancel";
  $(".plan", dialog).id = "plan-" + d.act;
  $("[name=sure]", dialog).setAttribute("aria-describedby", "plan-" + d.act);
  dialog.showModal();
  (who?.readOnly ? $("[name=at]", dialog) : $("[name=value]", dialog))?.select();
  unsure(dialog);
  if (!asks || asks.matches(".late")) plan(dialog);
};
// unsure takes back what a plan has told.
const unsure = (dialog) => {
  $(".plan", dialog).textContent = $(".wrong", dialog).textContent = "";
  $(".sure", dialog).hidden = true;
};
// during keeps others from being pressed while something is done.
const during = async (dialog, does) => {
  const buttons = $$("button", dialog).filter((b) => !b.disabled);
  $(".wrong", dialog).textContent = "";
  for (const b of buttons) b.disabled = true;
  try {
    await does();
  } catch (e) {
    $(".wrong", dialog).textContent = e.message;
    const here = location.href.slice(new URL(document.body.dataset.root + "/", location.href).href.length);
    if (e.leader) $(".wrong", dialog).append(" ", el("a", { href: `${e.leader}/${here}` }, "Open this page there"));
  }
  for (const b of buttons) b.disabled = false;
};
const fill = (dialog) => {
  const d = dialog.about, asks = $(".ask", dialog);
  delete d.forced;
  delete d.now;
  if (asks) Object.assign(d, Object.fromEntries(new FormData(asks)));
  return d;
};
const plan = async (dialog) => {
  unsure(dialog);
  const d = fill(dialog), sure = $(".sure", dialog);
  await during(dialog, async () => {
    const [words, can = true] = await acts[d.act].plan(d);
    $(".plan", dialog).textContent = words;
    sure.hidden = !can;
    $("[data-v=word]", sure).textContent = d.word;
  });
  sure.reset();
  $("button", sure).disabled = true;
  if (!sure.hidden) $("input", sure).focus();
};
const run = async (dialog) => {
  const d = fill(dialog);
  await during(dialog, async () => {
    $(".plan", dialog).textContent = await acts[d.act].run(d);
    dialog.done = true;
  });
  if (!dialog.done) return;
  for (const f of $$("form", dialog)) f.hidden = true;
  const close = $("[data-close]", dialog);
  close.textContent = "Close";
  close.focus();
  if (!dialog.open) ended(dialog);
};
// ended shows what a dialog has made of the page.
const ended = async (dialog) => {
  if (!dialog.done) return $("#main[data-live]") && !paused && later(renew, liveEvery);
  dialog.done = false;
  if (dialog.about.gone) return go(document.body.dataset.root + "/");
  const page = (await get(location.href).catch(() => null))?.page;
  if ($("dialog[open]")) return; // the next one is open by now
  if (!page) return location.reload();
  show(page);
  ($("#" + CSS.escape(dialog.opener)) ?? $("#main")).focus({ preventScroll: true });
};
document.addEventListener("close", (e) => e.target.matches(".act") && ended(e.target), true);
document.addEventListener("input", (e) => {
  const dialog = e.target.closest(".act");
  if (!dialog) return;
  if (e.target.name === "sure") $(".sure button", dialog).disabled = e.target.value.trim() !== dialog.about.word;
  else if (!e.target.closest(".late")) unsure(dialog);
});

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
  if ($("#help")) return $("#help").showModal();
  const d = el("dialog", { id: "help", ariaLabel: "Keys" }), list = el("dl", {});
  for (const [key, what] of [["/", "to the filter"], ["j", "to the next row"], ["k", "to the row before"], ["Enter", "open what the row is about"], ["f", "follow the messages, or stop"], ["?", "this list"]]) {
    list.append(el("dt", {}, el("kbd", {}, key)), el("dd", {}, what));
  }
  const box = el("input", { type: "checkbox", checked: keysOn() }), close = el("button", { type: "button" }, "Close");
  box.addEventListener("change", () => stored(look, "logd-keys", box.checked ? null : "off"));
  close.addEventListener("click", () => d.close());
  d.append(list, el("p", {}, el("label", {}, box, " Keys do that")), close);
  document.body.append(d);
  d.showModal();
};

document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || !keysOn()) return;
  if (e.target.matches("input, select, textarea, [contenteditable]") || $("dialog[open]")) return;
  const does = {
    "/": () => $("#filter")?.focus(), j: () => move(1), k: () => move(-1), f: () => setFollowing(!following()), "?": help,
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
  const button = e.target.closest?.("button[data-act], button[data-close]");
  if (button) return button.dataset.act ? openAct(button) : button.closest("dialog").close();
  if (!a || e.button !== 0 || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey || e.defaultPrevented) return;
  if (a.id === "follow" && a.dataset.stream) {
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
  const form = e.target, dialog = form.closest(".act");
  if (dialog) {
    e.preventDefault();
    if (form.matches(".sure")) run(dialog);
    else if (!form.matches(".late")) plan(dialog);
  } else if (form.id === "token") {
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
  if (following()) follow();
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
  if (following()) setFollowing(true);
};
ready();
if ($("#token") && token()) go(location.href, false);
setInterval(tick, 1000);
