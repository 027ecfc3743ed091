// The drawing field: a canvas, its buttons, the answer and ten bars. The page has one with all parts, a site a compact one.

// What `page_model` wrote -> {threshold, network, rejector}; the rejector, {threshold, network}, can be missing.
function loadModel({threshold, network, rejector}) {
  return {threshold, network: {operations: network.operations, weights: unpack(network.data, network.weights)}, rejector: rejector && loadModel(rejector)};
}

// Does what the model sees look like no digit? nbs/images/rejector.ipynb has the same in Python.
const looksStrange = ({rejector}, seen) => Boolean(rejector) && forward(rejector.network, seen).at(-1) >= rejector.threshold;

// Pixels as a canvas gives them -> what the model sees, every value of the network, ten probabilities and whether it looks like
// no digit, or the reason for a refusal.
function read(model, image) {
  try {
    const seen = normalise(toGrey(image.data, image.width, image.height)).v;
    const values = trace(model.network, seen);
    return {seen, values, proba: values.at(-1).v, strange: looksStrange(model, seen)};
  } catch (e) {
    if (e instanceof Refusal) return {refused: e.message};
    throw e;
  }
}

const inPercent = p => `${(100 * p).toFixed(1)}%`;

const WORDS = {
  en: {
    empty: "Draw one digit, as large as you like.", noAnswer: "No answer", refused: why => `This drawing cannot be read: ${why}.`,
    strange: "Not a digit?", guess: (a, p) => `If it is one, it is a ${a} (${p}).`,
    notSure: "Not sure", perhaps: (a, p, b, q) => `Perhaps ${a} (${p}) or ${b} (${q}).`, sure: p => `The model is ${p} sure.`,
    is: digit => `It is ${digit}. `, before: (digit, p) => ` Before: ${digit} (${p}).`,
    input: "Your digit", area: "Drawing area, for mouse, finger or pen.", undo: "Undo", clear: "Clear", eraser: "Eraser",
    result: "What the model says", seen: "What the model sees: 28 × 28", bars: "Probability of each digit",
  },
  zh: {
    empty: "写一个数字，想写多大都行。", noAnswer: "没有答案", refused: () => "读不出来：请清除后只写一个数字，写得大一些。",
    strange: "不是数字？", guess: (a, p) => `如果是，那就是 ${a}（${p}）。`,
    notSure: "没有把握", perhaps: (a, p, b, q) => `也许是 ${a}（${p}），也许是 ${b}（${q}）。`, sure: p => `模型的把握是 ${p}。`,
    is: digit => `是 ${digit}。`, before: (digit, p) => `之前：${digit}（${p}）。`,
    input: "你的数字", area: "写字区，可以用鼠标、手指或笔。", undo: "撤销", clear: "清除", eraser: "橡皮",
    result: "模型的回答", seen: "模型看到的：28 × 28", bars: "每个数字的概率",
  },
};
const words = WORDS[document.documentElement.lang.slice(0, 2)] ?? WORDS.en;  // by the language of the page
const EMPTY = {kind: "empty", head: "–", more: words.empty};

function inWords({proba, refused, strange}, threshold) {
  if (refused) return {kind: "refused", head: words.noAnswer, more: words.refused(refused)};
  const [first, second] = [...proba.keys()].sort((a, b) => proba[b] - proba[a]);
  if (strange) return {kind: "unsure", head: words.strange, more: words.guess(first, inPercent(proba[first]))};
  if (proba[first] < threshold)
    return {kind: "unsure", head: words.notSure, more: words.perhaps(first, inPercent(proba[first]), second, inPercent(proba[second]))};
  return {kind: "sure", head: `${first}`, more: words.sure(inPercent(proba[first]))};
}

const likeliest = proba => proba.indexOf(Math.max(...proba));

// The answer before a change, where it was another one.
function wasInWords(old, proba) {
  const digit = likeliest(old);
  return proba && likeliest(proba) === digit ? "" : words.before(digit, inPercent(old[digit]));
}

// The parts of a field, by name.
function build(element, compact) {
  const left = make(element, "section", {className: "field-input"}, {"aria-label": words.input});
  const canvas = make(left, "canvas", {className: "draw"}, {role: "img", "aria-label": words.area});
  const buttons = make(left, "div", {className: "buttons"});
  const button = (className, textContent, title) => make(buttons, "button", {type: "button", className, textContent, title});
  const undo = button("undo", words.undo, "Ctrl+Z"), clear = button("clear", words.clear, "Escape"), eraser = button("eraser", words.eraser, "");
  eraser.hidden = compact;
  eraser.setAttribute("aria-pressed", "false");
  const right = make(element, "section", {className: "field-result"}, {"aria-label": words.result});
  const answer = make(right, "div", {className: "answer"}), head = make(answer, "p", {className: "head"}), more = make(answer, "p", {className: "more"});
  const figure = make(right, "figure", {hidden: compact});
  const seen = make(figure, "canvas", {className: "seen", width: 28, height: 28}, {role: "img", "aria-label": words.seen});
  make(figure, "figcaption", {textContent: words.seen});
  const table = make(right, "table", {className: "bars"});
  table.createCaption().textContent = words.bars;
  const spoken = make(element, "div", {className: "spoken"}, {role: "status", "aria-live": "polite"});
  return {canvas, buttons, undo, clear, eraser, answer, head, more, seen, spoken, fill: bars(table)};
}

// A written 2, from its start to its end.
const TWO = [[.31, .35], [.33, .27], [.39, .21], [.47, .18], [.56, .19], [.63, .24], [.65, .31], [.64, .39], [.59, .48], [.51, .58], [.42, .68],
  [.34, .78], [.31, .82], [.41, .82], [.53, .81], [.64, .81], [.71, .82]];

// Writes an example into an empty field, which goes away when somebody draws.
function showExample({drawing, spoken, forget}) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches, stroke = [TWO[0]];
  let timer;
  drawing.canvas.addEventListener("pointerdown", () => {
    clearInterval(timer);
    if (!drawing.marks.includes(stroke)) return;
    Object.assign(drawing, {states: [[]], stroke: null});
    forget();
  }, {capture: true, once: true});
  const write = count => {
    stroke.push(...TWO.slice(stroke.length, stroke.length + count));
    const finished = stroke.length === TWO.length;
    if (finished) clearInterval(timer);
    drawing.stroke = finished ? null : stroke;
    drawing.update(finished);
    spoken.textContent = "";  // nobody has asked
  };
  drawing.push([stroke], false);
  if (still) write(TWO.length);
  else timer = setInterval(write, 60, 1);
}

// Makes `element` a field that reads drawings by `model` (of `loadModel`). `changed(result, finished)` is called after each
// answer, with null for an empty field; `keys` is the element whose Escape clears and whose Ctrl+Z undoes.
// With `example`, a 2 is written first.
function mount(element, model, {compact = false, changed = () => {}, keys = element, example = false} = {}) {
  element.classList.add("digit-field");
  element.classList.toggle("compact", compact);
  const parts = build(element, compact);
  let shown = null, before = null;  // the last two finished answers; each change is shown beside the answer before it
  const tell = (result, finished) => {
    if (finished) [before, shown] = [shown, result];
    const answered = result ? inWords(result, model.threshold) : EMPTY, old = (finished ? before : shown)?.proba;
    parts.answer.className = `answer ${answered.kind}`;
    parts.head.textContent = answered.head;
    parts.more.textContent = answered.more + (result && old ? wasInWords(old, result.proba) : "");
    const first = {sure: words.is(answered.head), empty: ""}[answered.kind] ?? `${answered.head}. `;
    if (finished) parts.spoken.textContent = first + parts.more.textContent;
    showDigit(parts.seen, result && result.seen || new Uint8Array(784));
    parts.fill(result && result.proba, old);
    changed(result, finished);
  };
  let asked = false, cost = 0;  // milliseconds that the last answer took to compute; a slow network answers after a stroke, not during it
  const answer = finished => {
    const began = performance.now(), result = drawing.empty ? null : read(model, drawing.pixels());
    cost = performance.now() - began;
    if (finished || result && !result.refused) tell(result, finished);  // a stroke that has just begun is not a digit yet
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
  parts.canvas.addEventListener("pointerdown", () => element.focus({preventScroll: true}));  // so that its keys work after a stroke
  element.tabIndex = -1;
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
  const forget = () => { before = shown = null; };
  const field = {...parts, drawing, tell, forget};
  if (example) showExample(field);
  return field;
}
