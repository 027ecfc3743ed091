// The page: a drawing is normalised, read and shown; nothing leaves the browser.
const find = id => document.getElementById(id);

// A page that was damaged on its way must not answer. Browsers compute checksums of pages from a disk or by https.
async function check() {
  if (!window.crypto || !crypto.subtle) return;
  const sum = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(find("model").textContent));
  if (find("model").dataset.hash === "sha256-" + btoa(String.fromCharCode(...new Uint8Array(sum)))) return;
  document.querySelector("main").textContent = "The model in this page is damaged. Get the page again, or export it again.";
}
check();

const about = JSON.parse(find("model").textContent);
const network = {operations: about.network.operations, weights: unpack(about.network.data, about.network.weights)};
const LARGEST = 1000;  // pixels of an opened picture's longer side; larger ones are made smaller first

// Pixels as a canvas gives them -> what the model sees and ten probabilities, or the reason for a refusal.
function read(image) {
  const began = performance.now();
  try {
    const seen = normalise(toGrey(image.data, image.width, image.height)).v, proba = forward(network, seen);
    cost = performance.now() - began;
    return {seen, proba};
  } catch (e) {
    if (e instanceof Refusal) return {refused: e.message};
    throw e;
  }
}

function inWords({proba, refused}) {
  if (refused) return {kind: "refused", head: "No answer", more: `This drawing cannot be read: ${refused}.`};
  const order = [...proba.keys()].sort((a, b) => proba[b] - proba[a]), sure = i => `${(100 * proba[order[i]]).toFixed(1)}%`;
  if (proba[order[0]] < about.threshold)
    return {kind: "unsure", head: "Not sure", more: `Perhaps a ${order[0]} (${sure(0)}) or a ${order[1]} (${sure(1)}).`};
  return {kind: "sure", head: `${order[0]}`, more: `The model is ${sure(0)} sure.`};
}

const fill = bars(find("bars"));
const EMPTY = {kind: "empty", head: "–", more: "Draw one digit, as large as you like."};

function tell(result, finished) {
  const words = result ? inWords(result) : EMPTY;
  find("answer").className = words.kind;
  find("head").textContent = words.head;
  find("more").textContent = words.more;
  const first = {sure: `It is a ${words.head}. `, empty: ""}[words.kind] ?? `${words.head}. `;
  if (finished) find("spoken").textContent = first + words.more;
  showDigit(find("seen"), result && result.seen || new Uint8Array(784));
  fill(result && result.proba);
}

let asked = false, cost = 0;  // milliseconds of the last reading; a slow network answers after a stroke, not during it
const drawing = new Drawing(find("pad"), finished => {
  find("undo").disabled = drawing.states.length < 2;
  find("clear").disabled = drawing.empty;
  if (finished) return tell(drawing.empty ? null : read(drawing.pixels()), true);
  if (asked || cost > 50) return;
  requestAnimationFrame(() => {
    asked = false;
    const result = drawing.stroke && read(drawing.pixels());
    if (result && !result.refused) tell(result, false);  // a stroke that has just begun is not a digit yet
  });
  asked = true;
});
tell(null, false);

async function open(file) {
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) return tell({refused: `${file.name || "this"} is not a picture that this browser can open; try PNG or JPEG`}, true);
  const by = Math.min(1, LARGEST / Math.max(picture.width, picture.height));
  const [width, height] = [picture.width, picture.height].map(side => Math.max(1, Math.round(side * by)));
  const canvas = Object.assign(document.createElement("canvas"), {width, height}), to = canvas.getContext("2d");
  to.imageSmoothingQuality = "high";
  to.drawImage(picture, 0, 0, width, height);
  drawing.open(canvas);
}

find("undo").addEventListener("click", () => drawing.undo());
find("clear").addEventListener("click", () => drawing.clear());
find("open").addEventListener("click", () => find("file").click());
find("file").addEventListener("change", e => {
  if (e.target.files.length) open(e.target.files[0]);
  e.target.value = "";
});
document.addEventListener("keydown", e => {
  if (e.key === "Escape") drawing.clear();
  else if ((e.ctrlKey || e.metaKey) && !e.shiftKey && e.key.toLowerCase() === "z") { e.preventDefault(); drawing.undo(); }
});
document.addEventListener("paste", e => { if (e.clipboardData.files.length) open(e.clipboardData.files[0]); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawing.show());
