// What happens inside the network: one button a layer, in rows by the size of the feature maps, and the maps of one layer.
const MOST_MAPS = 64;  // that are shown of a layer
const NOT_SHOWN = ["rescale", "frame", "flat", "shape", "log", "atLeast"];
const NAMES = {conv: "Conv", pool: "Max-pool", meanPool: "Mean-pool", norm: "Batch norm", add: "Add", times: "Multiply", join: "Concatenate", mean: "Global mean",
  dense: "Dense", leak: "Leaky ReLU", relu: "ReLU", sigmoid: "Sigmoid", tanh: "Tanh", silu: "SiLU", elu: "ELU", softmax: "Softmax"};

// The values that lead to the answer: of averaged members or views, the first one's. Gives their numbers and how many were averaged.
function pathOf(operations) {
  const wanted = new Set([operations.length]);
  let averaged = 1;
  for (let i = operations.length; i; i--) if (wanted.has(i)) {
    const {op, by, from} = operations[i - 1], many = op === "add" && by !== 1;
    if (many) averaged *= from.length;
    for (const j of many ? from.slice(0, 1) : from) wanted.add(j);
  }
  return {path: [...wanted].sort((a, b) => a - b), averaged};
}

// The layers to show: {at, name, text}, where `at` is the number of a value, and `text` says what the layer does.
function layersOf({operations}) {
  const {path, averaged} = pathOf(operations), layers = [{at: 0, name: "Input", text: "The digit that the network gets, prepared from your drawing."}];
  const count = {}, name = {0: "Input"};
  for (const i of path.slice(1)) {
    const o = operations[i - 1], before = o.from.map(j => name[j]);
    name[i] = before[0];
    const softmaxAgain = o.op === "apply" && o.then === "softmax" && i === operations.length;
    if (NOT_SHOWN.includes(o.op) || softmaxAgain) continue;
    const kind = o.op === "pool" && Math.max(...o.size) === 1 ? "Stride" : NAMES[o.op] || NAMES[o.then];
    count[kind] = (count[kind] || 0) + 1;
    name[i] = `${kind} ${count[kind]}`;
    layers.push({at: i, name: name[i], text: inShort(o, before)});
  }
  return {layers, averaged};
}

// What a layer does; `before` are the names of the layers that it takes.
function inShort(o, before) {
  const size = o.size && o.size.join(" × "), then = o.then && o.then !== "linear" && o.op !== "apply" ? ` ${NAMES[o.then]} follows.` : "";
  return {
    conv: `Each map is a weighted sum of the maps of ${before[0]} around each place, by a kernel that was learnt.${then}`,
    pool: size === "1 × 1" ? `Keeps one of each ${o.stride.join(" × ")} values of ${before[0]}.` : `Keeps the largest of each ${size} values of ${before[0]}, so the maps become smaller.`,
    meanPool: `Keeps the mean of each ${size} values of ${before[0]}, so the maps become smaller.`,
    norm: `Each map of ${before[0]} is scaled and moved by numbers from training.`,
    apply: `${NAMES[o.then]} of each value of ${before[0]}${o.then === "relu" ? ": what is negative becomes 0" : ""}.`,
    leak: `What is negative in ${before[0]} becomes small.`,
    add: `The sum of ${before.join(" and ")}: a shortcut around the layers between them.`,
    times: `${before[0]}, each map multiplied by ${before[1]}.`,
    join: `The maps of ${before.join(" and ")}, side by side.`,
    mean: `The mean of each map of ${before[0]}: one number for each, and no places any more.`,
    dense: `Each number is a weighted sum of all numbers of ${before[0]}.${then}`,
  }[o.op];
}

// One map as a picture: its lowest value is paper, its highest ink.
function drawMap(canvas, [h, w, channels], v, channel) {
  let [low, high] = [Infinity, -Infinity];
  for (let i = channel; i < v.length; i += channels) { low = Math.min(low, v[i]); high = Math.max(high, v[i]); }
  Object.assign(canvas, {width: w, height: h});
  const to = canvas.getContext("2d"), image = to.createImageData(w, h);
  for (let i = 0; i < h * w; i++) image.data.set([0, 0, 0, high > low ? 255 * (v[i * channels + channel] - low) / (high - low) : 0], 4 * i);
  to.putImageData(image, 0, 0);
}

// Numbers as columns; negative ones hang from the line.
function drawNumbers(canvas, v) {
  const high = 40, most = v.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9), below = v.some(a => a < 0);
  Object.assign(canvas, {width: 3 * v.length, height: high});
  const to = canvas.getContext("2d"), line = below ? high / 2 : high;
  v.forEach((a, i) => to.fillRect(3 * i, a > 0 ? line - line * a / most : line, 2, Math.max(1, line * Math.abs(a) / most)));
}

// The mean of a layer's maps, for its button.
function drawSummary(canvas, {shape, v}) {
  canvas.classList.toggle("numbers", shape.length === 1);
  if (shape.length === 1) return drawNumbers(canvas, v);
  const [h, w, channels] = shape, mean = new Float32Array(h * w);
  v.forEach((a, i) => { mean[Math.floor(i / channels)] += Math.abs(a); });
  drawMap(canvas, [h, w, 1], mean, 0);
}

const sizeOf = shape => shape.length === 1 ? "numbers" : `${shape[0]} × ${shape[1]}`;
const shapeOf = shape => shape.length === 1 ? `${shape[0]} numbers` : shape[2] === 1 ? `one map of ${sizeOf(shape)}` : `${shape[2]} feature maps of ${sizeOf(shape)}`;

// Makes a list of layers in `element`; gives a function that shows the values of an answer, or nothing for null.
function mountLayers(element, {network}) {
  const {layers, averaged} = layersOf(network), blank = trace(network, new Uint8Array(784));
  if (averaged > 1) make(element, "p", {className: "soft", textContent: `The answer is the mean of ${averaged} networks or views; these are the layers of the first.`});
  const list = make(element, "div", {className: "layers"}, {role: "tablist", "aria-label": "Layers of the network"});
  const panel = make(element, "div", {className: "maps", id: "maps"}, {role: "tabpanel"});
  const title = make(panel, "h3"), text = make(panel, "p"), maps = make(panel, "div", {className: "map-sheet"}, {role: "img"});
  let values = null, chosen = layers[Math.min(1, layers.length - 1)], row = null, size = null;

  const drawMaps = () => {
    const {shape, v} = (values || blank)[chosen.at], shown = shape.length === 1 ? 1 : Math.min(shape[2], MOST_MAPS);
    title.textContent = `${chosen.name}: ${shapeOf(shape)}${shape.length > 1 && shape[2] > shown ? `, the first ${shown} shown` : ""}`;
    text.textContent = chosen.text;
    maps.setAttribute("aria-label", values ? title.textContent : "Nothing is drawn yet.");
    maps.classList.toggle("numbers", shape.length === 1);
    while (maps.children.length > shown) maps.lastChild.remove();
    while (maps.children.length < shown) make(maps, "canvas");
    [...maps.children].forEach((canvas, k) => {
      if (!values) Object.assign(canvas, {width: shape[1] || 1, height: shape.length > 1 ? shape[0] : 1});
      else if (shape.length === 1) drawNumbers(canvas, v);
      else drawMap(canvas, shape, v, k);
    });
  };
  const choose = (layer, focus) => {
    chosen = layer;
    for (const {tab} of layers) {
      tab.setAttribute("aria-selected", tab === layer.tab);
      tab.tabIndex = tab === layer.tab ? 0 : -1;
    }
    panel.setAttribute("aria-labelledby", layer.tab.id);
    if (focus) layer.tab.focus();
    drawMaps();
  };
  layers.forEach((layer, k) => {
    if (sizeOf(blank[layer.at].shape) !== size) {
      size = sizeOf(blank[layer.at].shape);
      make(list, "span", {className: "soft", textContent: size}, {"aria-hidden": "true"});
      row = make(list, "div", {}, {role: "presentation"});
    }
    const id = `layer-${k}`;
    layer.tab = make(row, "button", {type: "button", id}, {role: "tab", "aria-controls": "maps"});
    layer.thumbnail = make(layer.tab, "canvas", {width: 1, height: 1}, {"aria-hidden": "true"});
    make(layer.tab, "span", {textContent: layer.name});
    layer.tab.addEventListener("pointerenter", e => e.pointerType === "mouse" && choose(layer));
    for (const kind of ["focus", "click"]) layer.tab.addEventListener(kind, () => chosen === layer || choose(layer));
  });
  list.addEventListener("keydown", e => {
    const at = layers.indexOf(chosen), to = {ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: layers.length - 1}[e.key];
    if (to === undefined) return;
    e.preventDefault();
    choose(layers[(to + layers.length) % layers.length], true);
  });
  choose(chosen);
  return found => {
    values = found;
    for (const {at, thumbnail} of layers)
      if (values) drawSummary(thumbnail, values[at]);
      else Object.assign(thumbnail, {width: 1, height: 1});
    drawMaps();
  };
}
