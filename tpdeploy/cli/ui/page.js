"use strict";
// The form asks the planner whenever it changes, and the address holds the form.

const form = document.querySelector("form");
const answer = document.querySelector("#answer");
const PAUSE_MS = 60; // a slider that moves asks no more often
const TOLD_MS = 1500; // how long a button says what it did
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
  const name = element("th", split.name, ...(split.verdict ? [element("small", split.verdict)] : []));
  name.scope = "row";
  const cells = [split.shown, split.ttft_ms, split.tpot_ms].map((cell) => element("td", cell));
  const made = element("tr", "", name, element("td", "", bar), ...cells);
  made.className = split.chosen ? "chosen" : "";
  return made;
}

// A line ends between options and not inside one.
function showCommand(command) {
  find("code").replaceChildren(...command.split(/(?<= )(?=--)/).map((words) => element("span", words)));
}

function markFields(error) {
  for (const field of form.elements) {
    const named = Boolean(error && field.name && error.startsWith(`${field.name} `));
    field.setAttribute("aria-invalid", String(named));
  }
}

function show(found) {
  answer.classList.remove("old");
  find(".wait").hidden = true;
  showText(".error", found.error);
  markFields(found.error);
  find(".found").hidden = Boolean(found.error);
  find(".same").hidden = false;
  showCommand(found.command);
  if (found.error) return;
  find(".warnings").replaceChildren(...found.warnings.map((line) => element("p", line)));
  find(".unit").textContent = found.unit;
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

// Where the browser lets no page write to the clipboard, the command is selected for Ctrl-C.
async function copy({ target }) {
  try {
    await navigator.clipboard.writeText(find("code").textContent);
    target.textContent = "Copied";
    setTimeout(() => { target.textContent = "Copy"; }, TOLD_MS);
  } catch {
    getSelection().selectAllChildren(find("code"));
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
find("button").addEventListener("click", copy);
// On a phone the answer is near the top.
form.querySelector("details").open = matchMedia("(min-width: 48.01rem)").matches;
restore();
showValues();
ask();
offerNames();
