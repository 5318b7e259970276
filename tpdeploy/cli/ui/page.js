"use strict";
// The form asks the planner whenever it changes, and the address holds the form.

const form = document.querySelector("form");
const answer = document.querySelector("#answer");
const PAUSE_MS = 60; // a slider that moves asks no more often
let waiting;
let asked;

const find = (selector) => answer.querySelector(selector);
const isPower = (field) => field.dataset.powers !== undefined;
const valueOf = (field) => (isPower(field) ? String(2 ** field.value) : field.value.trim());

function query() {
  const fields = new URLSearchParams();
  for (const field of form.elements) {
    if (field.name && valueOf(field)) fields.set(field.name, valueOf(field));
  }
  return fields;
}

function restore() {
  for (const [name, value] of new URLSearchParams(location.search)) {
    const field = form.elements[name];
    if (field) field.value = isPower(field) ? Math.round(Math.log2(Number(value) || 1)) : value;
  }
}

function showValues() {
  for (const field of form.elements) {
    if (isPower(field)) field.parentElement.querySelector("output").value = (2 ** field.value).toLocaleString("en");
  }
}

function element(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function showText(selector, text) {
  const place = find(selector);
  place.textContent = text || "";
  place.hidden = !text;
}

function row(split) {
  const bar = element("meter");
  bar.value = split.share;
  const cells = [split.tokens_per_s, bar, split.ttft_ms, split.tpot_ms].map((cell) =>
    cell instanceof Element ? element("td", "", cell) : element("td", cell));
  const made = element("tr", "", element("td", split.name), ...cells);
  made.className = split.chosen ? "chosen" : "";
  made.title = split.reason;
  return made;
}

function show(found) {
  answer.classList.remove("old");
  showText(".error", found.error);
  find(".found").hidden = Boolean(found.error);
  find("code").textContent = found.command;
  if (found.error) return;
  showText(".warning", found.warning);
  find("h2").textContent = found.answer;
  find(".what").textContent = found.what;
  find("dl").replaceChildren(...found.figures.map((figure) =>
    element("div", "", element("dt", figure.name),
      element("dd", figure.value, element("small", `expected ${figure.range}`)))));
  find("tbody").replaceChildren(...found.splits.map(row));
  find(".why").textContent = found.why;
  find("ul").replaceChildren(...found.depends_on.map((line) => element("li", line)));
}

async function ask() {
  const fields = query();
  history.replaceState(null, "", `?${fields}`);
  find(".link a").href = location.href;
  asked?.abort();
  asked = new AbortController();
  answer.classList.add("old");
  try {
    const response = await fetch(`answer?${fields}`, { signal: asked.signal });
    show(await response.json());
  } catch (error) {
    if (error.name !== "AbortError") show({ error: "tpdeploy ui has ended: start it again", command: "tpdeploy ui" });
  }
}

async function offerNames() {
  const names = await (await fetch("names")).json();
  for (const [list, offered] of Object.entries(names)) {
    document.getElementById(list).append(...offered.map((name) => {
      const option = element("option");
      option.value = name;
      return option;
    }));
  }
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => {
  showValues();
  clearTimeout(waiting);
  waiting = setTimeout(ask, PAUSE_MS);
});
find("button").addEventListener("click", () => navigator.clipboard.writeText(find("code").textContent));
// On a phone the answer is near the top.
form.querySelector("details").open = matchMedia("(min-width: 48.01rem)").matches;
restore();
showValues();
ask();
offerNames();
