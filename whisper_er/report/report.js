// The table of utterances: sorted, filtered, drawn a hundred rows at a time, played. utterances.py describes the data.
// What labels and transcripts say only ever becomes text nodes and attributes, never markup.
"use strict";
(() => {
const block = document.getElementById("data");
if (!block) return;
const data = JSON.parse(block.textContent);
const CHUNK = matchMedia("(max-width: 48rem)").matches ? 25 : 100; // rows drawn at a time; on a phone each is a card
const NONE = "–";
const CHANGED = "changed hands";
const NO_ANSWER = "no answer"; // what a hypothesis without a label is called; no label has a space
const compare = new Intl.Collator("en", { numeric: true }).compare;
const state = { filters: new Map(), search: "", view: null, descending: false, found: [], drawn: 0, playing: null };

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (key in node && !key.includes("-")) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

const label = (column, index) => (index < 0 ? "" : column.labels[index]);
const answer = (column, index) => label(column, index) || NO_ANSWER;
const isRight = { // true, false, or null where there is no label or no right and wrong
  category: (value) => (value && value[0] >= 0 ? value[0] === value[1] : null),
  text: (value) => (value ? value[2] === 0 : null),
};
const mark = (right) => {
  if (right === null) return make("span", { className: "mark" }, make("span", { className: "quiet" }, "no label "));
  const name = right ? "right" : "wrong";
  return make("span", { className: `mark ${name}`, title: name },
    make("span", { "aria-hidden": "true" }, right ? "✓" : "✗"), make("span", { className: "hidden" }, `${name}: `));
};

// What is written of a value, and what it is sorted by; a column is one or two of the table's.
const cells = {
  plain: (value) => [make("bdi", {}, value || NONE)],
  category: (value, column) => {
    if (!value) return [NONE];
    const right = isRight.category(value);
    const said = make("bdi", { className: right === false ? "said" : "" }, answer(column, value[1]));
    if (right) return [mark(right), said];
    return [mark(right), ...(right === null ? [] : [make("bdi", { className: "reference" }, label(column, value[0]))]),
      make("span", { className: "quiet", "aria-hidden": "true" }, " → "),
      make("span", { className: "hidden" }, " taken for "), said];
  },
  probability: (value) => [value && value[2] && value[1] >= 0 ? value[2][value[1]].toFixed(2) : NONE],
  text: (value) => {
    if (!value) return [NONE];
    if (!value[3]) return [mark(true), make("bdi", {}, value[0] || NONE)];
    const names = { "-": "del", "+": "ins", "=": "span" };
    return [mark(false), make("bdi", { className: "words" },
      ...value[3].flatMap(([kind, words]) => [make(names[kind], {}, words), " "]))];
  },
  errors: (value) => [value ? String(value[2]) : NONE],
  scale: (value) => (value ? [`${value[0] || NONE} → ${value[1] || NONE}`] : [NONE]),
  difference: (value) => [value && value[2] !== null ? String(value[2]) : NONE],
};
const keys = {
  plain: (value) => value || null,
  category: (value, column) =>
    value && value[0] >= 0 ? `${label(column, value[0])}\u0001${answer(column, value[1])}` : null,
  probability: (value) => (value && value[2] && value[1] >= 0 ? value[2][value[1]] : null),
  text: (value) => (value ? value[0] : null),
  errors: (value) => (value ? value[2] : null),
  scale: (value) => (value && value[0] ? Number(value[0]) : null),
  difference: (value) => (value ? value[2] : null),
};
const second = { category: ["probability", "p"], text: ["errors", "errors"], scale: ["difference", "|difference|"] };

const views = [{ title: "utterance", kind: "plain", at: 0, column: {} }];
data.columns.forEach((column, i) => {
  if (column.hidden) return;
  views.push({ title: column.title, kind: column.kind, at: i + 1, column });
  const extra = second[column.kind];
  const known = extra && (column.kind !== "category" || data.rows.some((row) => row[i + 1] && row[i + 1][2]));
  if (known) views.push({ title: extra[1], of: column.title, kind: extra[0], at: i + 1, column, number: true });
});
for (const view of views) view.name = view.of ? `${view.of}: ${view.title}` : view.title;

// Filters: key -> test of a row. The text that is searched is made once.
const searched = data.rows.map((row) => row.flatMap((value, i) => {
  if (typeof value === "string") return [value];
  if (i && value && ["text", "scale"].includes(data.columns[i - 1].kind)) return [value[0], value[1]];
  return i && value ? [label(data.columns[i - 1], value[0]), answer(data.columns[i - 1], value[1])] : [];
}).join("\n").toLowerCase());
const tests = {
  value: (value, wanted) => value === wanted,
  right: (value, wanted, column) => (wanted === CHANGED ? column.labels.includes(value) : value === wanted),
  answer: (value, wanted, column) => {
    const right = isRight[column.kind](value);
    return wanted === "none" ? right === null : right === (wanted === "right");
  },
  reference: (value, wanted, column) => value !== null && label(column, value[0]) === wanted,
  hypothesis: (value, wanted, column) => value !== null && answer(column, value[1]) === wanted,
};
function choices(column, name, i) {
  if (name === "answer") return [["wrong", "wrong"], ["right", "right"]];
  if (name === "reference" || name === "hypothesis") {
    const missing = name === "hypothesis" && data.rows.some((row) => row[i + 1] && row[i + 1][1] < 0);
    return [...column.labels, ...(missing ? [NO_ANSWER] : [])].map((own) => [own, own]);
  }
  const values = [...new Set(data.rows.map((row) => row[i + 1]).filter((value) => value))].sort(compare);
  return [...(name === "right" ? [CHANGED] : []), ...values].map((own) => [own, own]);
}
const filters = data.columns.flatMap((column, i) => column.filters.map((name) => {
  const own = column.kind !== "plain"; // one of several of a column
  return { key: own ? `${column.key}.${name}` : column.key, title: own ? `${column.title}: ${name}` : column.title,
    column, at: i + 1, test: tests[name], main: column.main, choices: choices(column, name, i) };
}));

let fields = 0;
function field(title, control, ...beside) {
  control.id = `field-${fields++}`;
  return make("div", { className: beside.length ? "wide" : "" }, make("label", { htmlFor: control.id }, title),
    make("div", { className: "control" }, control, ...beside));
}
function select(options) {
  const node = make("select");
  for (const [value, title] of options) node.append(make("option", { value }, title));
  return node;
}

const searchBox = make("input", { type: "search", autocomplete: "off", spellcheck: false });
for (const filter of filters) {
  filter.select = select([["", "all"], ...filter.choices]);
  filter.select.addEventListener("change", () => { state.filters.set(filter.key, filter.select.value); update(); });
}
const orderSelect = select([["", data.order], ...views.map((view, i) => [String(i), view.name])]);
const direction = make("button", { type: "button", "aria-pressed": "false" }, "descending");
const reset = make("button", { type: "button" }, "Reset filters");
const status = make("p", { role: "status", className: "status" });
const body = make("tbody");
const more = make("button", { type: "button", className: "more" });
const headers = views.map((view, i) => {
  const button = make("button", { type: "button" }, view.title);
  if (view.of) button.setAttribute("aria-label", view.name);
  button.addEventListener("click", () => sortBy(i, state.view === i ? !state.descending : Boolean(view.number)));
  return make("th", { scope: "col", className: view.number ? "number" : "" }, button);
});
const table = make("table", { className: "utterances" },
  make("caption", { className: "hidden" }, "Utterances; the headings sort"),
  make("thead", {}, make("tr", {}, make("th", { scope: "col" }, make("span", { className: "hidden" }, "play, details")),
    ...headers)), body);

const player = make("audio", { controls: true, preload: "none" });
const playerName = make("bdi");
const playerBar = make("div", { className: "player", hidden: true, role: "region", "aria-label": "Player" },
  playerName, player);

function sortBy(view, descending) {
  state.view = view;
  state.descending = descending;
  update();
}

function ordered(rows) {
  if (state.view === null) return state.descending ? rows.reverse() : rows;
  const view = views[state.view], key = keys[view.kind], sign = state.descending ? -1 : 1;
  const keyed = rows.map((row) => [key(data.rows[row][view.at], view.column), row]);
  const byKey = keyed.some(([own]) => typeof own === "number") ? (a, b) => a - b : compare;
  keyed.sort(([a, i], [b, j]) => {
    if (a === null || b === null) return (a === null) - (b === null) || i - j; // what is not defined comes last
    return sign * byKey(a, b) || i - j;
  });
  return keyed.map(([, row]) => row);
}

function update() {
  const active = filters.filter((filter) => state.filters.get(filter.key));
  const words = state.search.toLowerCase().split(/\s+/).filter((word) => word);
  const rows = [];
  data.rows.forEach((row, i) => {
    if (words.every((word) => searched[i].includes(word)) && active.every((filter) =>
      filter.test(row[filter.at], state.filters.get(filter.key), filter.column))) rows.push(i);
  });
  state.found = ordered(rows);
  state.drawn = 0;
  body.replaceChildren();
  headers.forEach((header, i) => {
    if (state.view === i) header.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    else header.removeAttribute("aria-sort");
  });
  orderSelect.value = state.view === null ? "" : String(state.view);
  direction.setAttribute("aria-pressed", String(state.descending));
  for (const filter of filters) {
    filter.select.value = state.filters.get(filter.key) || "";
    filter.select.classList.toggle("set", filter.select.value !== "");
  }
  draw();
}

function draw() {
  const rows = state.found.slice(state.drawn, state.drawn + CHUNK);
  body.append(...rows.map(rowNode));
  state.drawn += rows.length;
  showPlaying();
  const left = state.found.length - state.drawn;
  more.hidden = left === 0;
  more.textContent = `Show ${Math.min(CHUNK, left)} more of ${left.toLocaleString("en")}`;
  const counted = `${state.found.length.toLocaleString("en")} of ${data.rows.length.toLocaleString("en")} utterances`;
  status.textContent = state.found.length === 0 ? `No utterance has all of this (${counted}).`
    : left ? `${counted}, the first ${state.drawn} shown` : counted;
}

function rowNode(index) {
  const row = data.rows[index];
  const details = make("button", { type: "button", className: "toggle", "aria-expanded": "false",
    "aria-label": `Details of ${row[0]}` });
  const node = make("tr", { role: "row" }, make("td", { role: "cell", className: "actions" },
    make("div", {}, playButton(index), details)),
    ...views.map((view, i) => make(i ? "td" : "th", {
      role: i ? "cell" : "rowheader", scope: i ? undefined : "row", "data-title": view.name,
      className: `${view.kind}${view.number ? " number" : ""}`,
    }, make("div", {}, ...cells[view.kind](row[view.at], view.column)))));
  details.addEventListener("click", () => {
    const open = details.getAttribute("aria-expanded") === "true";
    details.setAttribute("aria-expanded", String(!open));
    if (open) node.nextElementSibling.remove();
    else node.after(detailsNode(row));
  });
  return node;
}

function detailsNode(row) {
  const list = make("dl");
  data.columns.forEach((column, i) => {
    const value = row[i + 1];
    if (!value) return;
    if (column.kind === "text") {
      if (!column.hidden) {
        list.append(make("dt", {}, `${column.title}: reference`), make("dd", { dir: "auto" }, value[0] || NONE));
      }
      list.append(make("dt", {}, `${column.title}: hypothesis`), make("dd", { dir: "auto" }, value[1] || NONE));
    } else if (column.kind === "category" && value[2]) {
      list.append(make("dt", {}, `${column.title}: probabilities`), make("dd", {}, bars(column, value)));
    }
  });
  return make("tr", { className: "details", role: "row" },
    make("td", { colSpan: views.length + 1, role: "cell" }, list.children.length ? list : "Nothing more is known."));
}

function bars(column, [reference, said, posterior]) {
  const rank = posterior.map((_, i) => i).sort((a, b) => posterior[b] - posterior[a]);
  return make("ul", { className: "bars" }, ...rank.map((i) => {
    const fill = make("span", { className: "fill" });
    fill.style.width = `${100 * posterior[i]}%`;
    const notes = [i === said ? "said" : "", i === reference ? "reference" : ""].filter((note) => note).join(", ");
    return make("li", {}, make("bdi", {}, column.labels[i]), make("span", { className: "bar", "aria-hidden": "true" }, fill),
      make("span", {}, posterior[i].toFixed(3)), make("span", { className: "quiet" }, notes));
  }));
}

function playButton(index) {
  if (data.sounds[index] === null || data.sounds[index] === undefined) {
    return make("span", { className: "silent", title: "no audio" }, make("span", { className: "hidden" }, "no audio"));
  }
  const button = make("button", { type: "button", className: "play", "aria-pressed": "false",
    "aria-label": `Play ${data.rows[index][0]}`, "data-row": index });
  button.addEventListener("click", () => toggle(index));
  return button;
}

function toggle(index) {
  if (state.playing === index && !player.paused) { player.pause(); return; }
  if (state.playing !== index || player.error || player.ended) {
    const sound = data.sounds[index];
    const embedded = typeof sound === "number";
    player.src = embedded ? `data:audio/mpeg;base64,${document.getElementById(`sound-${sound}`).textContent}` : sound;
    state.playing = index;
    playerName.textContent = data.rows[index][0];
    playerBar.hidden = false;
  }
  player.play().catch(() => {}); // the error event tells
}

function showPlaying() {
  for (const button of body.querySelectorAll(".play")) {
    const on = Number(button.getAttribute("data-row")) === state.playing && !player.paused && !player.error;
    button.setAttribute("aria-pressed", String(on));
  }
}
for (const event of ["play", "playing", "pause", "ended"]) player.addEventListener(event, showPlaying);
player.addEventListener("error", () => {
  if (!player.getAttribute("src")) return;
  playerName.textContent = `${data.rows[state.playing][0]}: cannot be played; was its file moved?`;
  showPlaying();
});

// A cell of a confusion matrix, a speaker or a group elsewhere on the page: show its utterances.
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("button[data-filter]") : null;
  if (!button) return;
  clear();
  for (const [key, value] of Object.entries(JSON.parse(button.getAttribute("data-filter")))) state.filters.set(key, value);
  for (const filter of filters) if (!filter.main && state.filters.get(filter.key)) others.open = true;
  update();
  document.getElementById("utterances").focus();
  root.scrollIntoView();
});

function clear() {
  state.filters.clear();
  state.search = searchBox.value = "";
}

let waiting = 0;
searchBox.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => { state.search = searchBox.value; update(); }, 120);
});
orderSelect.addEventListener("change", () => {
  const view = orderSelect.value === "" ? null : Number(orderSelect.value);
  sortBy(view, view !== null && Boolean(views[view].number));
});
direction.addEventListener("click", () => sortBy(state.view, !state.descending));
reset.addEventListener("click", () => { clear(); update(); });
more.addEventListener("click", () => { // the button may vanish; the keyboard goes on at the first new row
  const first = state.drawn;
  draw();
  body.querySelectorAll(":scope > tr:not(.details)")[first]?.querySelector("button")?.focus();
});

const rest = filters.filter((filter) => !filter.main);
const others = make("details", { className: "others", hidden: rest.length === 0 },
  make("summary", {}, "More filters"),
  make("div", { className: "fields" }, ...rest.map((filter) => field(filter.title, filter.select))));
const form = make("form", { role: "search", "aria-label": "Filter utterances" },
  make("div", { className: "fields" }, field("search ids and words", searchBox),
    ...filters.filter((filter) => filter.main).map((filter) => field(filter.title, filter.select)),
    field("order", orderSelect, direction)), others, reset);
form.addEventListener("submit", (event) => event.preventDefault());

const root = document.getElementById("table");
root.append(form, status,
  make("div", { className: "scroll tall", tabIndex: 0, role: "region", "aria-label": "Table of utterances" }, table),
  more, playerBar);
for (const [key, value] of Object.entries(data.first)) state.filters.set(key, value);
update();
})();
