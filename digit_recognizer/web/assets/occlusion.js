// Which places of a digit speak for an answer: squares are erased one after another (nbs/analysis/explain.ipynb).
const SQUARE = 4, STEP = 2;  // pixels of a square's side, and between two squares
const SLICE = 12;            // milliseconds of work at a time, so that the page answers meanwhile

// The squares that hold ink, as lists of pixels.
function squaresOf(seen) {
  const at = Array.from({length: Math.ceil((28 + SQUARE - STEP) / STEP)}, (_, k) => STEP - SQUARE + k * STEP), found = [];
  for (const top of at) for (const left of at) {
    const pixels = [];
    for (let r = Math.max(top, 0); r < Math.min(top + SQUARE, 28); r++)
      for (let c = Math.max(left, 0); c < Math.min(left + SQUARE, 28); c++) pixels.push(28 * r + c);
    if (pixels.some(i => seen[i])) found.push(pixels);
  }
  return found;
}

function logOdds(proba, digit) {
  const others = proba.reduce((sum, p, i) => i === digit ? sum : sum + p, 0);
  return Math.log(Math.max(proba[digit], 1e-30)) - Math.log(Math.max(others, 1e-30));
}

// 784 numbers: the mean loss of log-odds when a square over the pixel is erased. `go()` is asked between two slices of work;
// where it says no, the map is null.
async function occlusionMap(network, seen, digit, go = () => true) {
  const odds = logOdds(forward(network, seen), digit), lost = new Float64Array(784);
  let began = performance.now();
  for (const pixels of squaresOf(seen)) {
    if (performance.now() - began > SLICE) {
      await new Promise(done => setTimeout(done));
      if (!go()) return null;
      began = performance.now();
    }
    const erased = Uint8Array.from(seen);
    for (const i of pixels) erased[i] = 0;
    const loss = odds - logOdds(forward(network, erased), digit);
    for (const i of pixels) lost[i] += loss / (SQUARE / STEP) ** 2;
  }
  return lost;
}

// Red where ink speaks for the answer, blue where it speaks against it, over the digit in grey.
function drawOcclusion(canvas, seen, lost) {
  const to = canvas.getContext("2d"), image = to.createImageData(28, 28), most = lost.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9);
  for (let i = 0; i < 784; i++) {
    const ink = seen[i] / 255 * 0.6, share = Math.abs(lost[i]) / most, colour = lost[i] > 0 ? [226, 62, 40] : [52, 120, 228];
    image.data.set([...colour.map(c => 128 + (c - 128) * Math.min(1, 2 * share)), 255 * Math.max(ink, share)], 4 * i);
  }
  to.putImageData(image, 0, 0);
}

// In which ninth of the image a map is greatest; "" where no place speaks for the answer.
function placeInWords(lost) {
  const most = lost.reduce((a, b) => Math.max(a, b)), at = lost.indexOf(most), third = i => Math.min(2, Math.floor((i - 4) / 7));
  if (most <= 0) return "";
  const [down, across] = [Math.floor(at / 28), at % 28].map(i => Math.max(0, third(i)));
  return down === 1 && across === 1 ? "the middle" : [["the top", "the middle", "the bottom"][down], ["left", "", "right"][across]].filter(Boolean).join(" ");
}

// Makes the map in `element`; gives a function that shows it for a finished answer, or nothing for null.
function mountOcclusion(element, {network}) {
  const canvas = make(element, "canvas", {className: "why", width: 28, height: 28}, {role: "img"}), text = make(element, "p");
  let turn = 0;
  const say = (label, words) => {
    canvas.setAttribute("aria-label", label);
    text.textContent = words;
  };
  const empty = (label, words) => {
    canvas.width = 28;
    canvas.classList.remove("old");
    say(label, words);
  };
  const wait = () => empty("Nothing is drawn yet.", "Draw a digit, and see which of its parts decide.");
  wait();
  return async result => {
    const mine = ++turn;
    if (!result) return wait();
    if (!result.proba) return empty("A drawing without an answer cannot be explained.", "A drawing without an answer cannot be explained.");
    const digit = likeliest(result.proba);
    canvas.classList.add("old");
    say(`The map for ${digit} is being computed.`, `What speaks for ${digit}?`);
    const lost = await occlusionMap(network, result.seen, digit, () => mine === turn);
    if (!lost) return;
    canvas.classList.remove("old");
    drawOcclusion(canvas, result.seen, lost);
    const place = placeInWords(lost);
    if (place) say(`Map of what speaks for the answer ${digit}: most in ${place}.`,
      `Red: without this ink, ${digit} is less likely; most in ${place}. Blue: without it, ${digit} is likelier. Erase a red place and see.`);
    else say(`No single place speaks for the answer ${digit}.`, `No single place speaks for ${digit}: it stays as likely wherever the drawing is erased.`);
  };
}
