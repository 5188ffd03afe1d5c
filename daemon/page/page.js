// The status page: asks the API every few seconds and shows what it says. Everything that comes from there is put in as
// text, never as markup.
const STATUS_EVERY_MS = 3000;
const HISTORY_EVERY_MS = 15000;
const RATE_OVER_SECONDS = 300;
const LATE_SECONDS = 60;
const VERY_LATE_SECONDS = 900;
const UNSURE_SECONDS = 15;

const $ = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

// Leaves what is the same alone, so that neither the focus nor a screen reader is disturbed.
function say(node, text, kind = "") {
  if (node.textContent !== text) node.textContent = text;
  if (node.className !== kind) node.className = kind;
}

// --- words

function duration(seconds) {
  if (seconds < 1) return "under 1 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} days`;
}

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; count >= 1024 && unit < units.length - 1; ++unit) count /= 1024;
  return `${count.toFixed(unit && count < 100 ? 1 : 0)} ${units[unit]}`;
}

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const ago = (time) => `${duration(Math.max(0, (Date.now() - Date.parse(time)) / 1000))} ago`;

const MEANING = {
  transient: "A registry did not answer, or broke off. It is tried again.",
  throttled: "A registry wants fewer requests. It is tried again more slowly.",
  unauthorized: "A registry refuses our credentials, or they lack a right.",
  not_found: "Something is missing: a blob at the source, or a repository that must be made at the target first.",
  invalid: "A registry sent, or was sent, something that makes no sense.",
  corrupt: "Bytes were not what their digest says.",
  conflict: "The tag may not be moved at the target: it is immutable.",
  unsupported: "The registry cannot do this.",
  cancelled: "It was broken off.",
};

const STAGE = {
  in_step: ["good", "It is there: the target shows what the source shows."],
  queued: ["quiet", "It waits for its turn."],
  copying: ["quiet", "It is being copied now."],
  retrying: ["warn", "It failed, and is tried again."],
  dead_lettered: ["bad", "It was given up; see the dead letters below."],
  filtered: ["quiet", "No rule for this target wants it."],
  not_at_source: ["quiet", "The source does not have it."],
  unknown: ["warn", "Nobody can tell: see the error."],
};

// Nothing is pending, but pushes may have been missed for so long; 0: none.
function unsure_seconds(pair) {
  if (pair.oldest_pending_seconds > 0 || !pair.replicated_until) return 0;
  const seconds = (Date.parse(asked_at) - Date.parse(pair.replicated_until)) / 1000;
  return seconds >= UNSURE_SECONDS ? seconds : 0;
}

function lateness(pair) {
  const behind = pair.oldest_pending_seconds;
  const unsure = unsure_seconds(pair);
  if (unsure) return ["warn", `in step ${duration(unsure)} ago`];
  if (behind === 0) return pair.replicated_until ? ["good", "in step"] : ["quiet", "not known yet"];
  const kind = behind >= VERY_LATE_SECONDS || pair.dead_letters > 0 ? "bad" : behind >= LATE_SECONDS ? "warn" : "quiet";
  return [kind, duration(behind)];
}

// --- the API

function ask_for_token(wrong) {
  if ($("token").open) return;
  if (wrong) $("token-said").textContent = "That token is not accepted. Try another line of http.token_file.";
  $("token").showModal();
}

$("token").addEventListener("close", () => {
  const input = $("token").querySelector("input");
  if (!input.value) return;
  sessionStorage.setItem("transship-token", input.value.trim());
  input.value = "";
  refresh();
});

async function api(path, body) {
  const token = sessionStorage.getItem("transship-token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const options = body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers };
  const answer = await fetch(`/api/v1/${path}`, { ...options, cache: "no-store" });
  if (answer.status === 401) {
    ask_for_token(token !== null);
    throw new Error("it wants a token");
  }
  const json = await answer.json();
  if (!answer.ok) throw new Error(json.message || `it answered ${answer.status}`);
  return json;
}

// --- rules and targets

const key_of = (pair) => JSON.stringify([pair.rule, pair.target]);
let histories = new Map();
let asked_at = null; // when the daemon said what is shown, by its own clock
let seconds_a_sample = 15;

function sparkline(samples) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const most = Math.max(...samples, 0);
  const label = samples.length < 2 ? "not enough samples yet" : most === 0 ? "in step all the time" : `at most ${duration(most)} behind`;
  svg.setAttribute("viewBox", "0 0 240 30");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Last hour: ${label}`);
  const scale = Math.max(most, LATE_SECONDS);
  const left = 240 - samples.length;
  const points = samples.map((value, i) => `${left + i},${(29 - (value / scale) * 28).toFixed(1)}`);
  const ground = document.createElementNS(svg.namespaceURI, "line");
  for (const [key, value] of Object.entries({ x1: 0, y1: 29.5, x2: 240, y2: 29.5 })) ground.setAttribute(key, value);
  svg.append(ground);
  if (points.length > 1) {
    const area = document.createElementNS(svg.namespaceURI, "path");
    area.setAttribute("d", `M${left},29 L${points.join(" L")} L239,29 Z`);
    const line = document.createElementNS(svg.namespaceURI, "polyline");
    line.setAttribute("points", points.join(" "));
    svg.append(area, line);
  }
  return element("div", {}, svg, element("span", { class: "soft" }, label));
}

function rate(history) {
  const steps = Math.min(history.images_copied.length - 1, Math.round(RATE_OVER_SECONDS / seconds_a_sample));
  if (steps < 1) return null;
  const grown = (series) => (series.at(-1) - series.at(-1 - steps)) / (steps * seconds_a_sample);
  return { images: grown(history.images_copied), bytes: grown(history.bytes_copied) };
}

function error_of(error) {
  if (!error) return element("div", {}, element("span", { class: "soft" }, "none"));
  return element("div", {}, MEANING[error.kind] || error.kind, element("span", { class: "soft" }, `${error.message} (${ago(error.at)})`));
}

function cell(label, ...children) {
  return element("td", { "data-label": label }, ...children);
}

function row_of(pair) {
  const [kind, words] = lateness(pair);
  const history = histories.get(key_of(pair));
  const going = history && rate(history);
  const head = element("th", { scope: "row" }, `${pair.rule} → ${pair.target}`, element("span", { class: "soft" }, `from ${pair.source}`));
  if (pair.deletes_stopped) head.append(element("span", { class: "badge warn" }, "deletes stopped"));
  return element("tr", {}, head,
    cell("Behind", element("div", {}, element("span", { class: `badge ${kind}` }, words))),
    cell("Last hour", history ? sparkline(history.behind_seconds) : element("div", {}, "")),
    cell("Waiting", element("div", { class: "number" }, plural(pair.pending_images, "image"),
      element("span", { class: "soft" }, pair.pending_bytes ? bytes(pair.pending_bytes) : ""))),
    cell("Rate", element("div", { class: "number" }, going ? `${(going.images * 60).toFixed(going.images > 0.2 ? 0 : 1)} images a minute` : "–",
      element("span", { class: "soft" }, going && going.bytes ? `${bytes(going.bytes)}/s from ${pair.source}` : ""))),
    cell("Dead letters", element("div", {}, pair.dead_letters ? element("span", { class: "badge bad" }, String(pair.dead_letters)) : "0")),
    cell("Last error", error_of(pair.last_error)));
}

// A row is replaced only where it says something else than before.
function put_rows(body, rows) {
  rows.forEach((row, i) => {
    const old = body.rows[i];
    if (!old) body.append(row);
    else if (!old.isEqualNode(row)) {
      if (old.contains(document.activeElement)) return;
      old.replaceWith(row);
    }
  });
  while (body.rows.length > rows.length) body.rows[body.rows.length - 1].remove();
}

// A target that does not answer is bad news whatever else holds. A source is not: its pairs say since when they are unsure.
function verdict_of(status) {
  const [kind, words] = standing_of(status);
  const away = status.registries.filter((registry) => registry.error && status.pairs.some((pair) => pair.target === registry.name));
  if (!away.length) return [kind, words];
  return ["bad", `${away.map((registry) => registry.name).join(", ")} ${away.length > 1 ? "do" : "does"} not answer. ${words}`];
}

function standing_of(status) {
  const pairs = status.pairs;
  if (pairs.length === 0) return ["warn", "Nothing to do: no rule has a target here"];
  const dead = pairs.reduce((sum, pair) => sum + pair.dead_letters, 0);
  const late = pairs.filter((pair) => pair.oldest_pending_seconds >= LATE_SECONDS);
  const unknown = pairs.filter((pair) => !pair.replicated_until).length;
  if (!status.bus.connected) return ["bad", "The message bus is away"];
  if (late.length) {
    const most = Math.max(...late.map((pair) => pair.oldest_pending_seconds));
    const kind = most >= VERY_LATE_SECONDS || dead ? "bad" : "warn";
    return [kind, `${late.length} of ${plural(pairs.length, "pair")} behind, by up to ${duration(most)}`];
  }
  if (dead) return ["bad", `${plural(dead, "image")} given up`];
  if (unknown) return ["warn", "Not known yet: the first reconciliation is under way"];
  const unsure = Math.max(...pairs.map(unsure_seconds));
  if (unsure) return ["warn", `In step ${duration(unsure)} ago; what was pushed since may be missing`];
  const moving = pairs.reduce((sum, pair) => sum + pair.pending_images, 0);
  const failing = pairs.filter((pair) => pair.pending_images && pair.last_error).length;
  if (failing) return ["warn", `In step, but for ${plural(moving, "fresh image")}: the last try failed`];
  return ["good", moving ? `In step, but for ${plural(moving, "fresh image")}` : "In step"];
}

function show_status(status) {
  asked_at = status.now;
  say($("where"), status.region ? `in ${status.region}` : "for every region");
  const [kind, words] = verdict_of(status);
  say($("verdict"), words, kind);
  document.title = `${words} – transship`;
  say($("facts"), `${status.bus.type}, ${plural(status.bus.pending_events, "event")} waiting; version ${status.version}, up for ${duration((Date.now() - Date.parse(status.started)) / 1000)}`);
  const troubles = status.registries.filter((registry) => !registry.reachable)
    .map((registry) => `${registry.name} does not answer: ${registry.error || "not asked yet"}`);
  if (!status.bus.connected) troubles.unshift("The message bus does not answer. Registries keep their events and send them again.");
  const list = $("troubles");
  if (list.dataset.shown !== troubles.join("\n")) {
    list.dataset.shown = troubles.join("\n");
    list.replaceChildren(...troubles.map((text) => element("li", {}, text)));
    list.hidden = troubles.length === 0;
  }
  put_rows($("pairs").tBodies[0], status.pairs.map(row_of));
  const select = $("why").elements.target;
  const targets = [...new Set(status.pairs.map((pair) => pair.target))];
  if ([...select.options].map((option) => option.value).join() !== targets.join()) {
    select.replaceChildren(...targets.map((target) => element("option", {}, target)));
  }
}

// --- dead letters

function dead_row(letter) {
  const button = (word, kind, act) => {
    const made = element("button", { type: "button", class: kind, "aria-label": `${word} ${letter.image} at ${letter.target}` }, word);
    made.dataset.id = letter.id;
    made.dataset.act = act;
    return made;
  };
  const row = element("tr", {}, element("th", { scope: "row" }, letter.image, element("span", { class: "soft" }, `rule ${letter.rule}`)),
    cell("Target", element("div", { class: "number" }, letter.target)), cell("Tries", element("div", {}, String(letter.attempts))),
    cell("Last try", element("div", {}, ago(letter.last_failed))),
    cell("Why", element("div", {}, MEANING[letter.error.kind] || letter.error.kind, element("span", { class: "soft" }, letter.error.message))),
    element("td", {}, element("div", { class: "actions" }, button("Retry", "", "retry"), button("Look", "plain", "look"))));
  return row;
}

let letters = [];

async function show_dead_letters(status) {
  const any = status.pairs.some((pair) => pair.dead_letters > 0);
  letters = any ? (await api("dead-letters")).dead_letters : [];
  put_rows($("dead").querySelector("tbody"), letters.slice(0, 200).map(dead_row));
  $("dead").hidden = letters.length === 0;
}

async function retry(order, count, button) {
  button.disabled = true;
  try {
    await api("dead-letters", { action: "retry", ...order });
    say($("dead-said"), `${plural(count, "image")} sent again.`);
  } catch (error) {
    say($("dead-said"), `It could not be sent again: ${error.message}`);
  }
  button.disabled = false;
  refresh();
}

$("retry-all").addEventListener("click", (event) => retry({ all: true }, letters.length, event.currentTarget));
$("dead").addEventListener("click", (event) => {
  const letter = letters.find((one) => one.id === event.target.dataset.id);
  if (!letter) return;
  if (event.target.dataset.act === "retry") retry({ ids: [letter.id] }, 1, event.target);
  else location.hash = new URLSearchParams({ image: letter.image, target: letter.target });
});

// --- why

async function show_why(image, target) {
  const place = $("answer");
  place.replaceChildren(element("p", {}, "Asking …"));
  try {
    const why = await api(`why?${new URLSearchParams({ image, target })}`);
    const [kind, words] = STAGE[why.stage] || ["quiet", why.stage];
    const facts = element("dl");
    const fact = (name, value) => value && facts.append(element("dt", {}, name), element("dd", {}, value));
    fact("Rule", why.rule);
    fact("At the target", why.target_image);
    fact("Source shows", why.source_digest);
    fact("Target shows", why.target_digest);
    fact("Tries", why.attempts ? String(why.attempts) : "");
    fact("Next try", why.next_try && `in ${duration(Math.max(0, (Date.parse(why.next_try) - Date.now()) / 1000))}`);
    if (why.last_error) facts.append(element("dt", {}, "Last error"), element("dd", {}, error_of(why.last_error)));
    place.replaceChildren(element("p", {}, element("span", { class: `badge ${kind}` }, why.stage.replaceAll("_", " ")), ` ${words}`), facts);
  } catch (error) {
    place.replaceChildren(element("p", {}, `There is no answer: ${error.message}`));
  }
}

$("why").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target.elements;
  const hash = new URLSearchParams({ image: form.image.value.trim(), target: form.target.value });
  if (location.hash.slice(1) === hash.toString()) look_at_hash();
  else location.hash = hash;
});

// The question is in the address, so that it can be sent to somebody.
function look_at_hash() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (!asked.get("image") || !asked.get("target")) return;
  $("why").elements.image.value = asked.get("image");
  $("why").elements.target.value = asked.get("target");
  $("why").scrollIntoView({ block: "nearest" });
  show_why(asked.get("image"), asked.get("target"));
}
addEventListener("hashchange", look_at_hash);

// --- live

let asking = false;
let history_due = 0;
let first = true;
let last_answer = null;

async function refresh() {
  if (asking || document.hidden) return;
  asking = true;
  try {
    const status = await api("status");
    if (Date.now() >= history_due) {
      history_due = Date.now() + HISTORY_EVERY_MS;
      const history = await api("history");
      seconds_a_sample = history.every_seconds;
      histories = new Map(history.pairs.map((pair) => [key_of(pair), pair]));
    }
    show_status(status);
    await show_dead_letters(status);
    last_answer = new Date();
    $("silence").hidden = true;
    if (first) look_at_hash();
    first = false;
  } catch (error) {
    say($("silence"), last_answer
      ? `The daemon does not answer (${error.message}). What is shown is of ${last_answer.toLocaleTimeString()}.`
      : `The daemon does not answer: ${error.message}.`, "banner");
    $("silence").hidden = $("token").open;
    say($("verdict"), $("token").open ? "A token is needed" : "The daemon does not answer", "bad");
  }
  asking = false;
}

document.addEventListener("visibilitychange", refresh);
setInterval(refresh, STATUS_EVERY_MS);
refresh();
