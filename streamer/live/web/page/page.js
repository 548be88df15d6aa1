// Asks for the status every second or two and fills the page with it. All text goes in as text, never as markup.

import {
  bytes, clockTime, count, duration, milliseconds, moment, outputState, plural, rate, reasons, streamState, total,
} from "/format.js";

const POLL_MS = 1500;
const ANSWER_LIMIT_MS = 5000;
const TREND_POINTS = 80;
const TREND_WIDTH = 120;

const byId = (id) => document.getElementById(id);
const cards = new Map();
let before = null;
let reachedAt = null;

function field(root, name) {
  return root.querySelector(`[data-field="${name}"]`);
}

// Only what differs is touched, so that a selection survives and nothing is read aloud twice.
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function show(root, name, text) {
  say(field(root, name), text);
}

// What has not happened yet steps back, so that what has happened stands out.
function showCount(root, name, text) {
  show(root, name, text);
  field(root, name).classList.toggle("nothing", text === "none" || text === "0");
}

function showState(root, state) {
  const place = field(root, "state");
  place.dataset.level = state.level;
  show(place, "symbol", state.symbol);
  show(place, "said", state.said);
}

function fromTemplate(id) {
  return byId(id).content.firstElementChild.cloneNode(true);
}

// As many children as there are items, each filled with its own.
function fillList(list, items, template, fill) {
  while (list.children.length > items.length) list.lastElementChild.remove();
  while (list.children.length < items.length) list.append(fromTemplate(template));
  items.forEach((item, index) => fill(list.children[index], item));
}

class Card {
  constructor(name) {
    this.name = name;
    this.root = fromTemplate("stream");
    this.said = null;
    this.isSending = true;
    this.hasPreviews = true;
    this.picture = null;
    this.pictureUrl = null;
    this.latencies = [];
    show(this.root, "name", name);
    field(this.root, "picture").alt = `Newest anonymized picture of ${name}`;
  }

  fill(stream, now) {
    const { root } = this;
    const state = streamState(stream);
    if (this.said !== null && this.said !== state.said) say(byId("news"), `${this.name}: ${state.said}`);
    this.said = state.said;
    this.isSending = !["failed", "ended", "stopped"].includes(stream.state);
    root.dataset.level = state.level;
    showState(root, state);
    show(root, "since", `for ${duration(now - stream.since)}`);
    show(root, "latency", milliseconds(stream.latency_ms));
    show(root, "p99", `p99 ${milliseconds(stream.latency_p99_ms)}`);
    show(root, "fps_out", `${rate(stream.fps_out)} /s`);
    show(root, "fps_in", `of ${rate(stream.fps_in)} /s`);
    show(root, "faces", count(stream.faces));
    show(root, "faces_all", `${count(total(stream.covers))} so far`);
    show(root, "input", stream.input);
    show(root, "size", stream.width === null ? "none yet" : `${stream.width} × ${stream.height}${stream.codec ? `, ${stream.codec}` : ""}`);
    show(root, "filter", `${stream.filter}, look-ahead ${milliseconds(stream.look_ahead_s * 1000)}`);
    showCount(root, "covered_whole", reasons(stream.covered_whole));
    showCount(root, "dropped", reasons(stream.dropped));
    showCount(root, "fallbacks", reasons(stream.fallbacks));
    show(root, "queue", `${plural(stream.in_flight_frames, "frame", "frames")}, ${count(stream.queue_frames)} of them before detection`);
    showCount(root, "reconnects", count(stream.reconnects));
    showCount(root, "restarts", reasons(stream.restarts));
    fillList(field(root, "outputs"), stream.outputs, "output", fillOutput);
    field(root, "errors_box").hidden = stream.errors.length === 0;
    fillList(field(root, "errors"), stream.errors.slice(0, 5), "error", (item, event) => {
      show(item, "at", moment(event.at, now));
      field(item, "at").dateTime = new Date(event.at * 1000).toISOString();
      show(item, "text", event.text);
    });
    this.drawTrend(stream.latency_ms);
  }

  // A line over the last minutes, with gaps where there was no latency to measure.
  drawTrend(latency) {
    this.latencies.push(latency);
    if (this.latencies.length > TREND_POINTS) this.latencies.shift();
    const highest = Math.max(100, ...this.latencies) * 1.15;
    const step = TREND_WIDTH / (TREND_POINTS - 1);
    const first = TREND_WIDTH - step * (this.latencies.length - 1);
    let path = "";
    let isDrawing = false;
    this.latencies.forEach((one, index) => {
      if (one !== null) path += `${isDrawing ? "L" : "M"}${(first + step * index).toFixed(2)} ${(23 - (22 * one) / highest).toFixed(2)}`;
      isDrawing = one !== null;
    });
    field(this.root, "line").setAttribute("d", path);
  }

  async refreshPicture() {
    if (!this.hasPreviews) return;
    if (!this.isSending) {
      this.showPicture(null);
      return;
    }
    const response = await ask(`/preview/${encodeURIComponent(this.name)}.jpg`);
    if (response.status === 404) {
      this.hasPreviews = false;
      field(this.root, "figure").hidden = true;
    } else {
      this.showPicture(response.ok ? await response.blob() : null);
    }
  }

  showPicture(blob) {
    const picture = field(this.root, "picture");
    const old = this.pictureUrl;
    this.pictureUrl = blob === null ? null : URL.createObjectURL(blob);
    if (blob === null) picture.removeAttribute("src");
    else picture.src = this.pictureUrl;
    picture.hidden = blob === null;
    show(this.root, "caption", blob === null ? "no picture" : "anonymized");
    if (old !== null) URL.revokeObjectURL(old);
  }
}

function fillOutput(item, output) {
  showState(item, outputState(output));
  show(item, "kind", output.kind);
  show(item, "to", output.to);
  const parts = [plural(output.packets, "packet", "packets")];
  if (output.dropped > 0) parts.push(`${count(output.dropped)} dropped`);
  if (output.reconnects > 0) parts.push(plural(output.reconnects, "reconnect", "reconnects"));
  show(item, "counts", parts.join(", "));
  const error = field(item, "error");
  error.hidden = output.last_error === null;
  say(error, output.last_error ?? "");
}

function fillVerdict(status) {
  const verdict = byId("verdict");
  if (!status.is_ready) fillIn(verdict, "quiet", "◔", "starting");
  else if (!status.is_healthy || status.attention !== null) {
    fillIn(verdict, status.is_healthy ? "warn" : "bad", "▲", status.attention ?? "not healthy");
  } else fillIn(verdict, "good", "●", status.streams.length === 1 ? "the stream is well" : `all ${status.streams.length} streams are well`);
  document.title = `${verdict.dataset.level === "good" ? "" : "▲ "}Veil: ${field(verdict, "text").textContent}`;
}

function fillIn(verdict, level, symbol, text) {
  verdict.dataset.level = level;
  show(verdict, "symbol", symbol);
  show(verdict, "text", text);
}

function fillDaemon(status) {
  const root = byId("daemon");
  show(root, "version", status.version);
  show(root, "uptime", duration(status.now - status.started));
  show(root, "backend", status.backend);
  const restarts = status.detector_restarts > 0 ? `, ${plural(status.detector_restarts, "restart", "restarts")}` : "";
  show(root, "detectors", `${count(status.detectors)}${restarts}`);
  show(root, "memory", bytes(status.memory_bytes));
  show(root, "reloads", `${count(status.reloads)}${status.reloads_refused > 0 ? `, ${count(status.reloads_refused)} refused` : ""}`);
  show(root, "config", status.config);
  const isLater = before !== null && before.pid === status.pid && status.now > before.now;
  if (isLater) show(root, "cpu", `${((total(status.cpu_s) - total(before.cpu_s)) / (status.now - before.now)).toFixed(2)} cores`);
  else if (before === null || before.pid !== status.pid) show(root, "cpu", `${duration(total(status.cpu_s))} so far`);
  const refused = byId("refused");
  refused.hidden = status.reload_error === null;
  say(refused, status.reload_error === null ? "" : `The newest reload was refused, the settings before it go on: ${status.reload_error}`);
}

function fillStreams(status) {
  const names = new Set(status.streams.map((stream) => stream.name));
  for (const [name, card] of cards) {
    if (names.has(name)) continue;
    card.showPicture(null);
    card.root.remove();
    cards.delete(name);
  }
  for (const stream of status.streams) {
    if (!cards.has(stream.name)) {
      const card = new Card(stream.name);
      cards.set(stream.name, card);
      byId("streams").append(card.root);
    }
    cards.get(stream.name).fill(stream, status.now);
  }
}

async function ask(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
  if (response.status === 401) window.location.assign("/login");
  return response;
}

function showGone(text) {
  const gone = byId("gone");
  say(gone, text ?? "");
  gone.hidden = text === null;
  document.body.classList.toggle("stale", text !== null);
  if (text === null) return;
  fillIn(byId("verdict"), "bad", "✕", "out of touch");
  document.title = "✕ Veil: out of touch";
}

async function refresh() {
  let response;
  try {
    response = await ask("/api/streams");
  } catch {
    showGone(`The daemon is not reachable${reachedAt === null ? "" : ` since ${clockTime(reachedAt / 1000)}`}; what is shown is old.`);
    return;
  }
  reachedAt = Date.now();
  if (!response.ok) {
    showGone(`The daemon does not tell how it is: ${(await response.text()).trim()}.`);
    return;
  }
  const status = await response.json();
  byId("logout").hidden = response.headers.get("X-Veil-Login") !== "yes";
  fillDaemon(status);
  fillStreams(status);
  fillVerdict(status);
  say(byId("updated"), `updated ${clockTime(status.now)}`);
  before = status;
  showGone(null);
  await Promise.allSettled([...cards.values()].map((card) => card.refreshPicture()));
}

async function keepGoing() {
  if (document.visibilityState === "visible") {
    try {
      await refresh();
    } catch (error) {
      showGone(`This page cannot show what the daemon says: ${error}`);
    }
  }
  window.setTimeout(keepGoing, POLL_MS);
}

keepGoing();
