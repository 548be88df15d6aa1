// Numbers, times and states as text; nothing here touches the page.

const whole = new Intl.NumberFormat("en");
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dateAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

// Each state has a sign of its own shape and a word, so that the colour is never all that tells.
export const STREAM_STATES = {
  starting: { symbol: "◔", said: "starting", level: "quiet" },
  running: { symbol: "●", said: "running", level: "good" },
  no_signal: { symbol: "▲", said: "no signal", level: "warn" },
  too_slow: { symbol: "▲", said: "too slow", level: "warn" },
  failed: { symbol: "✕", said: "given up", level: "bad" },
  ended: { symbol: "■", said: "ended", level: "quiet" },
  stopped: { symbol: "■", said: "stopped", level: "quiet" },
  silent: { symbol: "▲", said: "silent", level: "warn" },
};

export const OUTPUT_STATES = {
  connecting: { symbol: "◔", said: "connecting", level: "quiet" },
  connected: { symbol: "●", said: "connected", level: "good" },
  retrying: { symbol: "▲", said: "retrying", level: "warn" },
  failed: { symbol: "✕", said: "given up", level: "bad" },
  ended: { symbol: "■", said: "ended", level: "quiet" },
};

const UNKNOWN = { symbol: "?", said: "unknown", level: "quiet" };

export function streamState(stream) {
  return STREAM_STATES[stream.is_silent && stream.state !== "failed" ? "silent" : stream.state] ?? UNKNOWN;
}

export function outputState(output) {
  return OUTPUT_STATES[output.state] ?? UNKNOWN;
}

export function count(number) {
  return whole.format(number);
}

export function rate(number) {
  return number.toFixed(1);
}

export function milliseconds(number) {
  return number === null ? "–" : `${whole.format(Math.round(number))} ms`;
}

export function bytes(number) {
  return number >= 2 ** 30 ? `${(number / 2 ** 30).toFixed(2)} GiB` : `${whole.format(Math.round(number / 2 ** 20))} MiB`;
}

// The two largest units of a time in seconds.
export function duration(seconds) {
  const left = Math.max(0, Math.floor(seconds));
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, length]) => left >= length);
  if (first === -1) return "0 s";
  const [name, length] = units[first];
  const large = `${Math.floor(left / length)} ${name}`;
  if (first === units.length - 1) return large;
  const [smaller, part] = units[first + 1];
  const rest = Math.floor((left % length) / part);
  return rest > 0 ? `${large} ${rest} ${smaller}` : large;
}

export function clockTime(epoch) {
  return time.format(new Date(epoch * 1000));
}

// With the day where it is another one.
export function moment(epoch, now) {
  return now - epoch < 43200 ? clockTime(epoch) : dateAndTime.format(new Date(epoch * 1000));
}

// Counts by reason, the largest first: "overload 12, late 3".
export function reasons(counts) {
  const named = Object.entries(counts).filter(([, number]) => number > 0).sort(([, a], [, b]) => b - a);
  return named.length === 0 ? "none" : named.map(([reason, number]) => `${reason.replaceAll("_", " ")} ${count(number)}`).join(", ");
}

export function total(counts) {
  return Object.values(counts).reduce((sum, number) => sum + number, 0);
}

export function plural(number, one, several) {
  return `${count(number)} ${number === 1 ? one : several}`;
}
