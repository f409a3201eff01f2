
"use strict";
// Shows the samples that the filters leave, a page at a time. All text goes in as textContent: it is never markup.
const PAGE = 50;
const all = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
let first = 0;

function options(select, name) {
  const counts = new Map();
  for (const one of all) counts.set(one[name], (counts.get(one[name]) || 0) + 1);
  select.append(new Option(`all (${all.length})`, ""));
  for (const [value, count] of counts) select.append(new Option(`${value} (${count})`, value));
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function body(one) {
  const shown = document.createElement("div");
  const code = document.createElement("pre");
  code.append(one.prefix, element("span", one.completion, "written"));
  code.append(element("span", one.cut, "unused"), one.suffix);
  shown.append(code);
  if (one.detail) shown.append(element("p", "Why:"), element("pre", one.detail));
  if (one.reference) shown.append(element("p", "Reference:"), element("pre", one.reference));
  return shown;
}

function entry(one) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  const similarity = (100 * one.similarity).toFixed(0);
  summary.append(element("span", one.verdict, one.verdict === "passed" ? "passed" : "other"));
  summary.append(` ${one.id} · sample ${one.sample} · ${one.finish}`);
  if (one.reference) summary.append(one.exact ? " · exact" : ` · ${similarity}% alike`);
  details.append(summary);
  details.addEventListener("toggle", () => details.children.length > 1 || details.append(body(one)));
  return details;
}

function show() {
  const [task, verdict, text] = ["task", "verdict", "text"].map((id) => find(id).value);
  const left = all.filter(
    (one) =>
      (!task || one.task === task) &&
      (!verdict || one.verdict === verdict) &&
      (!text || one.completion.includes(text) || one.id.includes(text)),
  );
  first = Math.max(0, Math.min(first, PAGE * Math.floor((left.length - 1) / PAGE)));
  const last = Math.min(first + PAGE, left.length);
  find("count").textContent = left.length ? `${first + 1} to ${last} of ${left.length}` : "none";
  find("before").disabled = first === 0;
  find("after").disabled = last === left.length;
  find("samples").replaceChildren(...left.slice(first, last).map(entry));
}

function turn(step) {
  first += step;
  show();
}

options(find("task"), "task");
options(find("verdict"), "verdict");
for (const id of ["task", "verdict", "text"]) find(id).addEventListener("input", () => turn(-first));
find("before").addEventListener("click", () => turn(-PAGE));
find("after").addEventListener("click", () => turn(PAGE));
show();
