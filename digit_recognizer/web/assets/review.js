"use strict";
// Items: where, line, place, fingerprint, machine, probability, second, second_probability, names, why, crop, and all columns but the last.
const {items, single, nothing, columns} = JSON.parse(document.getElementById("items").textContent);
const element = id => document.getElementById(id);
const key = "review " + items.map(i => i.fingerprint + i.line + "." + i.place).join(" ").slice(0, 4000);
const decisions = new Map(), past = [];
let at = 0, saved = true;

function keep() {
  saved = decisions.size === 0;
  try { localStorage.setItem(key, JSON.stringify([...decisions])); } catch { /* private windows have no storage */ }
}
function remembered() {
  try {
    for (const [n, text] of JSON.parse(localStorage.getItem(key) || "[]"))
      if (Number.isInteger(n) && n >= 0 && n < items.length && valid(text) === "") decisions.set(n, text);
  } catch { decisions.clear(); }
}
function valid(text) {
  if (text === nothing) return "";
  if (typeof text !== "string" || !/^[0-9]+(\.[0-9]+)?$/.test(text)) return single ? "expected one digit" : "expected digits";
  if (single && text.length !== 1) return "expected one digit";
  return text.length > 41 ? "too long" : "";
}
const percent = p => p >= .99995 ? "over 99.99 %" : (100 * p).toFixed(p >= .99 || p < .01 ? 2 : 1) + " %";

function next() {
  for (let step = 1; step <= items.length; step++) {
    const n = (at + step) % items.length;
    if (!decisions.has(n)) { at = n; return; }
  }
}
function fill(id, mark, text, name, p, chosen) {
  const [kbd, bold, span] = element(id).children;
  kbd.textContent = mark;
  bold.textContent = text || "–";
  span.textContent = text ? [name, percent(p)].filter(Boolean).join(" · ") : "";
  element(id).disabled = valid(text) !== "";
  element(id).classList.toggle("chosen", chosen !== undefined && chosen === text);
}
function show(message = "") {
  const item = items[at], chosen = decisions.get(at);
  element("bar").value = decisions.size;
  element("count").textContent = `${decisions.size} of ${items.length} decided`;
  element("where").textContent = `${at + 1}: ${item.where}`;
  element("why").textContent = item.why + (chosen === undefined ? "" : ` · you decided: ${chosen}`);
  element("crop").src = item.crop;
  fill("first", single ? "Enter" : "1", item.machine, item.name, item.probability, chosen);
  fill("second", single ? item.second : "2", item.second, item.second_name, item.second_probability, chosen);
  element("undo").disabled = !past.length;
  element("save").disabled = !decisions.size;
  element("typed").value = "";
  element("problem").textContent = "";
  element("said").textContent = message || (decisions.size === items.length ? "All are decided. Save the decisions." : "");
}
function decide(text) {
  const problem = valid(text);
  if (problem) { element("problem").textContent = problem; return; }
  past.push([at, decisions.get(at)]);
  decisions.set(at, text);
  keep();
  next();
  element("typed").blur();
  show();
}
function undo() {
  if (!past.length) return;
  const [n, before] = past.pop();
  if (before === undefined) decisions.delete(n); else decisions.set(n, before);
  at = n;
  keep();
  show("Undone.");
}
function skip() {
  at = (at + 1) % items.length;
  show();
}
const cell = text => /[",\n\r]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
function table() {
  const rows = [...decisions].sort((a, b) => a[0] - b[0]).map(([n, decision]) => [...columns.slice(0, -1).map(c => String(items[n][c])), decision]);
  return [columns, ...rows].map(row => row.map(cell).join(",")).join("\n") + "\n";
}
function save() {
  if (!decisions.size) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([table()], {type: "text/csv"}));
  link.download = "decisions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  saved = true;
  show(`Saved ${decisions.size} of ${items.length} as decisions.csv.`);
}
const clicks = {first: () => decide(items[at].machine), second: () => decide(items[at].second), not: () => decide(nothing), skip, undo, save};
for (const [id, act] of Object.entries(clicks)) element(id).addEventListener("click", event => { act(); event.currentTarget.blur(); });
element("form").addEventListener("submit", event => { event.preventDefault(); decide(element("typed").value.trim()); });
element("form").querySelector("kbd").textContent = single ? "0–9" : "T";
const keys = {n: "not", s: "skip", u: "undo", backspace: "undo", d: "save"};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.id === "typed") {
    if (event.key === "Escape") { element("typed").blur(); show(); }
    return;
  }
  const name = event.key.toLowerCase();
  let id = keys[name];
  if (single && /^[0-9]$/.test(name)) { event.preventDefault(); decide(name); return; }
  if (single && name === "enter" && event.target.tagName !== "BUTTON") id = "first";
  if (!single && (name === "1" || name === "2")) id = name === "1" ? "first" : "second";
  if (!single && name === "t") { event.preventDefault(); element("typed").focus(); return; }
  if (!id || element(id).disabled) return;
  event.preventDefault();
  clicks[id]();
});
addEventListener("beforeunload", event => { if (!saved) event.preventDefault(); });
remembered();
if (decisions.has(0)) next();
show(decisions.size ? `${decisions.size} earlier decisions were kept in this browser.` : "");
