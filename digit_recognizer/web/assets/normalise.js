// Makes of a picture of one digit what MNIST would have made of it: the steps of digit_recognizer/images/normalise.py,
// which nbs/images/normalise.ipynb explains. An image is {h, w, v}: height, width, and its values row by row.
const NORMALISER = 3;  // the version in normalise.py; nbs/results/golden.json holds both to the same results
const CONTRAST = 24;   // levels of 255 by which ink differs from its paper, at least

class Refusal extends Error {}
const refuse = message => { throw new Refusal(message); };

const luma = (red, green, blue) => 19595 * red + 38470 * green + 7471 * blue;  // in 1/65536

// The paper under a transparent picture: black (0) where light ink covers less than half of it, else white (255).
function paperUnder(pixels) {
  let [light, total] = [0, 0];
  for (let k = 0; k < pixels.length; k += 4) {
    light += (luma(pixels[k], pixels[k + 1], pixels[k + 2]) >> 16) * pixels[k + 3];
    total += pixels[k + 3];
  }
  return total && light >= 192 * total && total < 128 * (pixels.length / 4) ? 0 : 255;
}

// Pixels as a canvas gives them (red, green, blue, opacity) -> brightness, 0 black to 255 white.
function toGrey(pixels, w, h) {
  const v = new Uint8Array(w * h), paper = paperUnder(pixels);
  const over = (p, a) => Math.floor((p * a + paper * (255 - a) + 127) / 255);
  for (let i = 0; i < v.length; i++) {
    const k = 4 * i, a = pixels[k + 3];
    v[i] = (luma(over(pixels[k], a), over(pixels[k + 1], a), over(pixels[k + 2], a)) + 32768) >> 16;
  }
  return {h, w, v};
}

// Fills an array by a function of the place; Array.from is ten times slower.
function filled(kind, n, value) {
  const out = new kind(n);
  for (let i = 0; i < n; i++) out[i] = value(i);
  return out;
}

function cropped({h, w, v}) {
  let [top, bottom, left, right] = [h, -1, w, -1];
  for (let r = 0; r < h; r++) for (let c = 0; c < w; c++) if (v[r * w + c]) {
    top = Math.min(top, r); bottom = r; left = Math.min(left, c); right = Math.max(right, c);
  }
  if (bottom < 0) return {h: 0, w: 0, v: v.slice(0, 0)};
  const out = {h: bottom - top + 1, w: right - left + 1};
  out.v = new v.constructor(out.h * out.w);
  for (let r = 0; r < out.h; r++) out.v.set(v.subarray((top + r) * w + left, (top + r) * w + right + 1), r * out.w);
  return out;
}

// Area averaging of `count` strips of `v` from n to m places; `step` is from place to place, `strip` from strip to strip.
function averaged(v, n, m, step, count, strip) {
  const out = new Float64Array(m * count);
  for (let i = 0; i < m; i++) for (let o = Math.floor(i * n / m); o < n && o * m < (i + 1) * n; o++) {
    const overlap = Math.min((i + 1) * n, (o + 1) * m) - Math.max(i * n, o * m);
    for (let j = 0; j < count; j++) out[i * count + j] += overlap * v[o * step + j * strip];
  }
  return out;
}

// Where a strip has to begin so that its centre of mass comes to 14, or as near as it can.
function start(mass) {
  let total = 0, moment = 0;
  mass.forEach((m, i) => { total += m; moment += m * i; });
  return Math.min(Math.max(Math.floor((29 * total - 2 * moment) / (2 * total)), 0), 28 - mass.length);
}

// Ink of any size -> 28 × 28, the longer side of the ink 20, its centre of mass in the middle.
function fitInk(ink) {
  ink = cropped(ink);
  if (Math.max(ink.h, ink.w) > 40) ink = cropped({...ink, v: ink.v.map(p => p < 16 ? 0 : p)});
  if (!ink.h) refuse("it is blank; draw a digit");
  const longer = Math.max(ink.h, ink.w);
  const [high, wide] = [ink.h, ink.w].map(side => Math.max(1, Math.floor((40 * side + longer) / (2 * longer))));
  const rows = averaged(ink.v, ink.h, high, ink.w, ink.w, 1);
  const area = averaged(rows, ink.w, wide, 1, high, ink.w);                 // column by column
  const most = area.reduce((a, b) => Math.max(a, b));
  const value = (r, c) => Math.floor((510 * area[c * high + r] + most) / (2 * most));
  const [down, across] = [new Float64Array(high), new Float64Array(wide)];
  for (let r = 0; r < high; r++) for (let c = 0; c < wide; c++) { down[r] += value(r, c); across[c] += value(r, c); }
  const [top, left] = [start(down), start(across)], v = new Uint8Array(784);
  for (let r = 0; r < high; r++) for (let c = 0; c < wide; c++) v[(top + r) * 28 + left + c] = value(r, c);
  return {h: 28, w: 28, v};
}

function median(values) {
  const sorted = Float64Array.from(values).sort(), n = sorted.length;
  return (sorted[(n - 1) >> 1] + sorted[n >> 1]) / 2;
}

// Resizes one side as Pillow does; a box has a support of .5, a triangle (bilinear) of 1.
function resizedSide(a, n, support) {
  const scale = a.h / n, wider = Math.max(scale, 1), reach = support * wider, v = new Float32Array(n * a.w);
  const weigh = support < 1 ? x => +(x > -.5 && x <= .5) : x => Math.max(0, 1 - Math.abs(x));
  for (let i = 0; i < n; i++) {
    const centre = (i + .5) * scale, first = Math.max(0, Math.trunc(centre - reach + .5));
    const weights = [];
    for (let o = first; o < Math.min(a.h, Math.trunc(centre + reach + .5)); o++) weights.push(weigh((o - centre + .5) / wider));
    const total = weights.reduce((x, y) => x + y);
    for (let c = 0; c < a.w; c++) {
      let sum = 0;
      weights.forEach((weight, k) => { sum += a.v[(first + k) * a.w + c] * (weight / total); });
      v[i * a.w + c] = sum;
    }
  }
  return {h: n, w: a.w, v};
}

function turned({h, w, v}) {
  return {h: w, w: h, v: v.map((_, i) => v[(i % h) * w + Math.floor(i / h)])};
}

const resized = (a, h, w, support) => resizedSide(turned(resizedSide(turned({...a, v: Float32Array.from(a.v)}), w, support)), h, support);

// Solves the normal equations of a weighted least-squares fit, by elimination; terms that depend on others are left out.
function solve(matrix) {
  const n = matrix.length, pivots = [];
  for (let i = 0; i < n; i++) {
    if (Math.abs(matrix[i][i]) < 1e-9) continue;
    pivots.push(i);
    for (let r = 0; r < n; r++) if (r !== i) {
      const by = matrix[r][i] / matrix[i][i];
      for (let c = i; c <= n; c++) matrix[r][c] -= by * matrix[i][c];
    }
  }
  return matrix.map((row, i) => pivots.includes(i) ? row[n] / row[i] : 0);
}

// The surface of second degree with the least sum of absolute deviations from `a` (Schlossmacher 1973).
function surface({h, w, v}) {
  const at = (i, n) => n > 1 ? 2 * i / (n - 1) - 1 : -1;
  const terms = Array.from(v, (_, i) => {
    const [r, c] = [at(Math.floor(i / w), h), at(i % w, w)];
    return [1, r, c, r * r, r * c, c * c];
  });
  let weight = new Float64Array(v.length).fill(1), fit;
  for (let round = 0; round < 20; round++) {
    const matrix = Array.from({length: 6}, () => new Array(7).fill(0));
    terms.forEach((t, i) => t.forEach((x, r) => {
      for (let c = 0; c < 6; c++) matrix[r][c] += weight[i] * x * t[c];
      matrix[r][6] += weight[i] * x * v[i];
    }));
    const by = solve(matrix);
    fit = terms.map(t => t.reduce((sum, x, k) => sum + x * by[k], 0));
    weight = weight.map((_, i) => 1 / Math.max(Math.abs(v[i] - fit[i]), 1));
  }
  return fit;
}

// The greatest (or least) value of a square around each pixel.
function extreme(a, side, pick) {
  const half = side >> 1;
  const along = ({h, w, v}) => ({h, w, v: v.map((_, i) => {
    const c = i % w, row = i - c;
    let best = v[i];
    for (let k = Math.max(0, c - half); k <= Math.min(w - 1, c + half); k++) best = pick(best, v[row + k]);
    return best;
  })});
  return turned(along(turned(along(a))));
}

function halfToEven(x) {
  const low = Math.floor(x);
  return x - low === .5 ? low + low % 2 : Math.round(x);
}

// Removes the background: how far each pixel is from it towards ink, and whether it is even.
function subtractPaper({h, w, v}) {
  const edge = [...v.subarray(0, w), ...v.subarray((h - 1) * w)];
  for (let r = 1; r < h - 1; r++) edge.push(v[r * w], v[(r + 1) * w - 1]);
  const paper = median(edge), away = filled(Float64Array, v.length, i => v[i] - paper);
  if (edge.filter(p => Math.abs(p - paper) <= 2).length >= .75 * edge.length) {
    const sign = away.reduce((a, b) => a + b) > 0 ? 1 : -1;
    return {away: filled(Float64Array, v.length, i => away[i] * sign), even: true};
  }
  const shrink = Math.min(1, 64 / Math.max(h, w));
  const small = resized({h, w, v}, Math.max(1, halfToEven(h * shrink)), Math.max(1, halfToEven(w * shrink)), .5);
  const plane = surface(small), rest = Float64Array.from(small.v, (p, i) => p - plane[i]);
  const dark = rest.reduce((sum, p) => sum + p ** 3, 0) < 0, side = Math.max(3, Math.floor(Math.max(small.h, small.w) / 4)) | 1;
  const [first, then] = dark ? [Math.max, Math.min] : [Math.min, Math.max];
  const bare = extreme(extreme({...small, v: rest}, side, first), side, then);
  const background = resized({...bare, v: bare.v.map((p, i) => p + plane[i])}, h, w, 1).v;
  return {away: filled(Float64Array, v.length, i => (v[i] - background[i]) * (dark ? -1 : 1)), even: false};
}

// The threshold that separates numbers into two groups with the least variance inside them (Otsu 1979).
function otsu(values) {
  const n = [];
  values.forEach(p => { n[p] = (n[p] || 0) + 1; });
  const all = values.length, sum = values.reduce((a, b) => a + b, 0);
  let [count, total, best, at] = [0, 0, -1, 0];
  for (let i = 0; i < n.length; i++) {
    count += n[i] || 0; total += i * (n[i] || 0);
    const apart = total / Math.max(count, 1) - (sum - total) / Math.max(all - count, 1);
    const between = count * (all - count) * apart ** 2;
    if (between > best) [best, at] = [between, i];
  }
  return at;
}

const mean = values => values.reduce((a, b) => a + b, 0) / values.length;

// The ink of a picture, dark or light: 0 background to 255 ink.
function findInk(grey) {
  const {away, even} = subtractPaper(grey);
  let [low, high, found] = [0, 0, false];
  if (even) {
    high = away.reduce((a, b) => Math.max(a, b));
    found = high >= CONTRAST;
  } else {
    const threshold = otsu(away.map(p => Math.floor(Math.max(p, 0) + .5)));
    const [ink, paper] = [away.filter(p => p > threshold), away.filter(p => !(p > threshold))];
    high = ink.length ? mean(ink) : 0;
    const middle = mean(paper), sd = Math.sqrt(mean(paper.map(p => (p - middle) ** 2)));
    low = Math.min(middle + 3 * sd, high / 2);
    found = high - middle >= Math.max(CONTRAST, 4 * sd);
  }
  if (!found) refuse("nothing stands out from the background; write darker, or take a sharper picture");
  const level = i => Math.floor(Math.min(Math.max((away[i] - low) / (high - low), 0), 1) * 255 + .5);
  return {...grey, v: filled(Uint8Array, away.length, level)};
}

// Numbers the pieces of ink, joined also at corners: each pixel's piece (0 for none), and how many there are.
function components({h, w, v}) {
  const piece = new Int32Array(v.length), waiting = [];
  let n = 0;
  for (let i = 0; i < v.length; i++) if (v[i] && !piece[i]) {
    piece[i] = ++n; waiting.push(i);
    while (waiting.length) {
      const p = waiting.pop(), c = p % w, r = (p - c) / w;
      for (let y = Math.max(0, r - 1); y <= Math.min(h - 1, r + 1); y++)
        for (let x = Math.max(0, c - 1); x <= Math.min(w - 1, c + 1); x++)
          if (v[y * w + x] && !piece[y * w + x]) { piece[y * w + x] = n; waiting.push(y * w + x); }
    }
  }
  return {piece, n};
}

function masses({piece, n}, v) {
  const mass = new Float64Array(n + 1);
  piece.forEach((k, i) => { mass[k] += v[i]; });
  return mass.subarray(1);
}

const percent = x => `${halfToEven(100 * x)}%`;
const LIMITS = {  // measure: least and greatest value of a digit, and what is said of others; the first that is passed is reported
  core: [0, 11, x => `a blot or a dot: it holds a square of ink of ${x} pixels, more than a digit's strokes`],
  filled: [0, .75, x => `a blot: ink fills ${percent(x)} of its box, more than a digit's`],
  pieces: [1, 4, x => `${x} separate pieces, more than a digit's`],
  beside: [0, .6, x => `two things side by side, one ${percent(x)} as high as the other`],
  largest: [.5, 1, x => `several things: the largest holds ${percent(x)} of the ink`],
  upright: [.4, 20, x => `${x.toFixed(2)} times as high as wide, flatter than a digit`],
  edges: [0, .46, x => `noise or a thicket: brightness changes by ${x.toFixed(2)} a pixel, more than in a digit`],
};

// The side of the largest square of pixels from 128 up.
function largestSquare({h, w, v}) {
  const side = new Int32Array(v.length);  // of the square that ends at a pixel
  for (let i = 0; i < v.length; i++) if (v[i] >= 128)
    side[i] = i < w || i % w === 0 ? 1 : 1 + Math.min(side[i - 1], side[i - w], side[i - w - 1]);
  return side.reduce((a, b) => Math.max(a, b), 0);
}

// How alike in height the two largest pieces are, if they are side by side and the second holds more than a tenth of the ink.
function heightRatio({h, w}, {piece}, mass, total) {
  if (mass.length < 2) return 0;
  const [first, second] = [...mass.keys()].sort((a, b) => mass[b] - mass[a]);
  const box = k => {
    let [top, bottom, left, right] = [h, 0, w, 0];  // bottom and right are the first outside
    piece.forEach((n, i) => {
      if (n !== k + 1) return;
      const c = i % w, r = (i - c) / w;
      [top, bottom, left, right] = [Math.min(top, r), Math.max(bottom, r + 1), Math.min(left, c), Math.max(right, c + 1)];
    });
    return {left, right, high: bottom - top};
  };
  const [a, b] = [box(first), box(second)];
  if (mass[second] * 10 <= total || Math.min(a.right, b.right) > Math.max(a.left, b.left)) return 0;
  return Math.min(a.high, b.high) / Math.max(a.high, b.high);
}

function measureInk(img) {
  const v = img.v, total = v.reduce((a, b) => a + b, 0), frame = cropped(img);
  const found = components({...img, v: v.map(p => p >= 64 ? 1 : 0)}), mass = masses(found, v);
  let jumps = 0;
  for (let i = 0; i < 784; i++) {
    if (i % 28 < 27) jumps += Math.abs(v[i + 1] - v[i]);
    if (i < 756) jumps += Math.abs(v[i + 28] - v[i]);
  }
  return {filled: total / 255 / (Math.max(frame.h, 12) * Math.max(frame.w, 12)), pieces: found.n, largest: Math.max(...mass) / total,
          upright: frame.h / frame.w, edges: jumps / 255 / 400, core: largestSquare(img), beside: heightRatio(img, found, mass, total)};
}

// Why an image cannot be one digit; "" for an image that can.
function rejectionReason(img) {
  const found = measureInk(img);
  for (const [name, [low, high, say]] of Object.entries(LIMITS))
    if (!(low <= found[name] && found[name] <= high)) return say(found[name]);
  return "";
}

// Ink without pieces of less than a fiftieth of the largest one's ink; small drawings do not change.
function removeSpecks(ink) {
  const frame = cropped(ink);
  if (Math.max(frame.h, frame.w) <= 40) return ink;
  const found = components(ink), mass = masses(found, ink.v), most = mass.reduce((a, b) => Math.max(a, b));
  return {...ink, v: filled(Uint8Array, ink.v.length, i => ink.v[i] && mass[found.piece[i] - 1] * 50 >= most ? ink.v[i] : 0)};
}

// A picture's brightness {h, w, v} -> what the model sees, 28 × 28, 0 background to 255 ink; throws a Refusal.
function normalise(grey) {
  const ink = removeSpecks(findInk(grey)), frame = cropped(ink);
  if (Math.max(frame.h, frame.w) < 5) refuse("a dot of less than 5 pixels; draw larger, or take a larger picture");
  const img = fitInk(ink), why = rejectionReason(img);
  if (why) refuse(`${why}; give a picture of one digit`);
  return img;
}
