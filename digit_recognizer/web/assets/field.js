// The drawing field: a canvas, its buttons, the answer and ten bars. The page has one with all parts, a site a compact one.

// What `page_model` wrote -> {threshold, network}.
function loadModel({threshold, network}) {
  return {threshold, network: {operations: network.operations, weights: unpack(network.data, network.weights)}};
}

// Pixels as a canvas gives them -> what the model sees, every value of the network and ten probabilities, or the reason for a
// refusal.
function read({network}, image) {
  try {
    const seen = normalise(toGrey(image.data, image.width, image.height)).v;
    const values = trace(network, seen);
    return {seen, values, proba: values.at(-1).v};
  } catch (e) {
    if (e instanceof Refusal) return {refused: e.message};
    throw e;
  }
}

const inPercent = p => `${(100 * p).toFixed(1)}%`;
const EMPTY = {kind: "empty", head: "–", more: "Draw one digit, as large as you like."};

function inWords({proba, refused}, threshold) {
  if (refused) return {kind: "refused", head: "No answer", more: `This drawing cannot be read: ${refused}.`};
  const [first, second] = [...proba.keys()].sort((a, b) => proba[b] - proba[a]);
  if (proba[first] < threshold)
    return {kind: "unsure", head: "Not sure", more: `Perhaps a ${first} (${inPercent(proba[first])}) or a ${second} (${inPercent(proba[second])}).`};
  return {kind: "sure", head: `${first}`, more: `The model is ${inPercent(proba[first])} sure.`};
}

const likeliest = proba => proba.indexOf(Math.max(...proba));

// The answer before a change, where it was another one.
function wasInWords(old, proba) {
  const digit = likeliest(old);
  return proba && likeliest(proba) === digit ? "" : ` Before: ${digit} (${inPercent(old[digit])}).`;
}

// The parts of a field, by name.
function build(element, compact) {
  const left = make(element, "section", {className: "field-input"}, {"aria-label": "Your digit"});
  const canvas = make(left, "canvas", {className: "draw"}, {role: "img", "aria-label": "Drawing area, for mouse, finger or pen."});
  const buttons = make(left, "div", {className: "buttons"});
  const button = (className, textContent, title) => make(buttons, "button", {type: "button", className, textContent, title});
  const undo = button("undo", "Undo", "Ctrl+Z"), clear = button("clear", "Clear", "Escape"), eraser = button("eraser", "Eraser", "");
  eraser.hidden = compact;
  eraser.setAttribute("aria-pressed", "false");
  const right = make(element, "section", {className: "field-result"}, {"aria-label": "What the model says"});
  const answer = make(right, "div", {className: "answer"}), head = make(answer, "p", {className: "head"}), more = make(answer, "p", {className: "more"});
  const figure = make(right, "figure", {hidden: compact}), words = "What the model sees: 28 × 28";
  const seen = make(figure, "canvas", {className: "seen", width: 28, height: 28}, {role: "img", "aria-label": words});
  make(figure, "figcaption", {textContent: words});
  const table = make(right, "table", {className: "bars"});
  table.createCaption().textContent = "Probability of each digit";
  const spoken = make(element, "div", {className: "spoken"}, {role: "status", "aria-live": "polite"});
  return {canvas, buttons, undo, clear, eraser, answer, head, more, seen, spoken, fill: bars(table)};
}

// Makes `element` a field that reads drawings by `model` (of `loadModel`). `changed(result, finished)` is called after each
// answer, with null for an empty field; `keys` is the element whose Escape clears and whose Ctrl+Z undoes.
function mount(element, model, {compact = false, changed = () => {}, keys = element} = {}) {
  element.classList.add("digit-field");
  element.classList.toggle("compact", compact);
  const parts = build(element, compact);
  let shown = null, before = null;  // the last two finished answers; each change is shown beside the answer before it
  const tell = (result, finished) => {
    if (finished) [before, shown] = [shown, result];
    const words = result ? inWords(result, model.threshold) : EMPTY, old = (finished ? before : shown)?.proba;
    parts.answer.className = `answer ${words.kind}`;
    parts.head.textContent = words.head;
    parts.more.textContent = words.more + (result && old ? wasInWords(old, result.proba) : "");
    const first = {sure: `It is a ${words.head}. `, empty: ""}[words.kind] ?? `${words.head}. `;
    if (finished) parts.spoken.textContent = first + parts.more.textContent;
    showDigit(parts.seen, result && result.seen || new Uint8Array(784));
    parts.fill(result && result.proba, old);
    changed(result, finished);
  };
  let asked = false, cost = 0;  // milliseconds of the last answer; a slow network answers after a stroke, not during it
  const answer = finished => {
    const began = performance.now(), result = drawing.empty ? null : read(model, drawing.pixels());
    if (finished || result && !result.refused) tell(result, finished);  // a stroke that has just begun is not a digit yet
    cost = performance.now() - began;
  };
  const drawing = new Drawing(parts.canvas, finished => {
    parts.undo.disabled = drawing.states.length < 2;
    parts.clear.disabled = drawing.empty;
    if (finished) return answer(true);
    if (asked || cost > 50) return;
    requestAnimationFrame(() => {
      asked = false;
      if (drawing.stroke) answer(false);
    });
    asked = true;
  });
  parts.undo.disabled = parts.clear.disabled = true;
  parts.undo.addEventListener("click", () => drawing.undo());
  parts.clear.addEventListener("click", () => drawing.clear());
  parts.eraser.addEventListener("click", () => {
    drawing.erasing = !drawing.erasing;
    parts.eraser.setAttribute("aria-pressed", drawing.erasing);
  });
  keys.addEventListener("keydown", e => {
    if (e.key === "Escape") drawing.clear();
    else if ((e.ctrlKey || e.metaKey) && !e.shiftKey && e.key.toLowerCase() === "z") { e.preventDefault(); drawing.undo(); }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawing.show());
  const themes = new MutationObserver(() => drawing.show());  // a site's dark theme is a class
  for (const root of [document.documentElement, document.body]) themes.observe(root, {attributeFilter: ["class"]});
  tell(null, false);
  return {...parts, drawing, tell};
}
