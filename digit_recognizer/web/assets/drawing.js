// A canvas to draw on by mouse, finger or pen, with an eraser and undo; used by the field of the page and by the widget for Jupyter.
// Places are fractions of the canvas's side, so that a drawing is the same at every size.
const PEN = 1 / 13;  // width of the pen: on a digit of two thirds of the canvas, MNIST's strokes
const ERASER = 2 * PEN;
const TAP = 1 / 40;  // an eraser that moved less far takes away the whole stroke under it
const SIDE = 280;    // pixels of a drawing that are read, in each direction

// The mean colour of a canvas's edge; null where it is transparent.
function edgeColour(canvas) {
  const {width: w, height: h} = canvas, to = canvas.getContext("2d"), sums = [0, 0, 0];
  const sides = [[0, 0, w, 1], [0, h - 1, w, 1], [0, 0, 1, h], [w - 1, 0, 1, h]].map(box => to.getImageData(...box).data);
  for (const side of sides) for (let i = 0; i < side.length; i++) {
    if (i % 4 < 3) sums[i % 4] += side[i] / (2 * (w + h));
    else if (side[i] < 255) return null;
  }
  return `rgb(${sums.map(Math.round)})`;
}

function distance([x, y], [ax, ay], [bx, by]) {  // from a point to a line's segment
  const [dx, dy] = [bx - ax, by - ay], along = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1);
  const t = Math.min(1, Math.max(0, along));
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

class Drawing {
  // `changed(finished)` is called after each change; `finished` is false during a stroke. A mark is a picture or a stroke,
  // and a stroke is a list of places, which erases where its `erases` is true. The right mouse button always erases.
  constructor(canvas, changed) {
    Object.assign(this, {canvas, changed, states: [[]], stroke: null, erasing: false});
    const place = e => {
      const box = canvas.getBoundingClientRect();
      return [(e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height];
    };
    canvas.addEventListener("pointerdown", e => {
      const erases = this.erasing || e.button === 2 || e.button === 5;  // 5: the other end of a pen
      if (this.stroke || ![0, 2, 5].includes(e.button) || erases && this.empty) return;
      e.preventDefault();
      canvas.setPointerCapture(e.pointerId);
      this.pointer = e.pointerId;
      this.stroke = Object.assign([place(e)], {erases});
      this.push([...(erases || this.marks.every(Array.isArray) ? this.marks : []), this.stroke], false);
    });
    canvas.addEventListener("contextmenu", e => e.preventDefault());
    canvas.addEventListener("pointermove", e => {
      if (!this.stroke || e.pointerId !== this.pointer) return;
      const steps = e.getCoalescedEvents ? e.getCoalescedEvents() : [];
      this.stroke.push(...(steps.length ? steps : [e]).map(place));
      this.update(false);
    });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(kind, e => {
      if (!this.stroke || e.pointerId !== this.pointer) return;
      if (this.stroke.erases && this.stroke.every(p => distance(p, this.stroke[0], this.stroke[0]) < TAP)) this.takeAway(this.stroke[0]);
      this.stroke = null;
      this.update(true);
    });
    new ResizeObserver(() => this.show()).observe(canvas);
  }

  get marks() { return this.states.at(-1); }
  get empty() { return this.marks.every(mark => mark.erases); }
  push(marks, finished) { this.states.push(marks); this.update(finished); }
  undo() { if (this.states.length > 1 && !this.stroke) { this.states.pop(); this.update(true); } }
  clear() { if (!this.empty && !this.stroke) this.push([], true); }
  open(picture) { this.push([picture], true); }  // a canvas
  update(finished) { this.show(); this.changed(finished); }

  // Replaces the eraser's last stroke, a tap, by taking away the newest stroke under it.
  takeAway(place) {
    const marks = this.states.pop().slice(0, -1);
    const near = mark => Array.isArray(mark) && !mark.erases && mark.some((p, i) => distance(place, mark[Math.max(i - 1, 0)], p) < PEN / 2 + TAP);
    const hit = marks.findLast(near);
    if (hit) this.states.push(marks.filter(mark => mark !== hit));
  }

  show() {
    const canvas = this.canvas, side = Math.round(canvas.clientWidth * devicePixelRatio);
    if (!side) return;
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const to = canvas.getContext("2d");
    to.clearRect(0, 0, side, side);
    this.paint(to, side, getComputedStyle(canvas).color);
  }

  paint(to, side, ink) {
    Object.assign(to, {lineCap: "round", lineJoin: "round", strokeStyle: ink, fillStyle: ink});
    for (const mark of this.marks) {
      if (!Array.isArray(mark)) {
        const by = side / Math.max(mark.width, mark.height), [w, h] = [mark.width * by, mark.height * by];
        to.imageSmoothingEnabled = by < 1;
        to.drawImage(mark, (side - w) / 2, (side - h) / 2, w, h);
        continue;
      }
      to.lineWidth = (mark.erases ? ERASER : PEN) * side;
      to.globalCompositeOperation = mark.erases ? "destination-out" : "source-over";
      to.beginPath();
      for (const [x, y] of mark) to.lineTo(x * side, y * side);
      to.stroke();
      to.beginPath();
      to.arc(mark[0][0] * side, mark[0][1] * side, to.lineWidth / 2, 0, 7);  // a tap is a dot, which stroke() leaves out
      to.fill();
    }
    to.globalCompositeOperation = "source-over";
  }

  // The pixels to read: a picture's own, or the strokes in black on white. What was erased becomes paper.
  pixels() {
    const picture = this.marks.find(mark => !Array.isArray(mark)), {width, height} = picture || {width: SIDE, height: SIDE};
    const to = Object.assign(document.createElement("canvas"), {width, height}).getContext("2d", {willReadFrequently: true});
    const side = Math.max(width, height), paper = !picture ? "#fff" : this.marks.length > 1 && edgeColour(picture);
    to.translate((width - side) / 2, (height - side) / 2);  // a picture lies in the middle of the field
    this.paint(to, side, "#000");
    if (paper) {
      Object.assign(to, {globalCompositeOperation: "destination-over", fillStyle: paper});
      to.fillRect(0, 0, side, side);
    }
    return to.getImageData(0, 0, width, height);
  }
}

// A new element at the end of another one.
function make(parent, tag, properties = {}, attributes = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent.append(element);
  return element;
}

// Shows 28 × 28 grey levels, ink dark on light, on a canvas of 28 × 28.
function showDigit(canvas, levels) {
  const to = canvas.getContext("2d"), image = to.createImageData(28, 28);
  for (let i = 0; i < 784; i++) image.data.set([255 - levels[i], 255 - levels[i], 255 - levels[i], 255], 4 * i);
  to.putImageData(image, 0, 0);
}

// Ten rows of digit, bar and number; gives a function that fills them, or without an argument empties them. Where an earlier
// probability differs visibly, its bar stays as an outline.
function bars(table) {
  const rows = Array.from({length: 10}, (_, digit) => {
    const row = table.insertRow(), head = document.createElement("th"), bar = document.createElement("div");
    head.textContent = digit;
    head.scope = "row";
    row.append(head);
    const cell = row.insertCell(), ghost = make(cell, "i", {hidden: true});
    cell.append(bar);
    return {row, bar, ghost, number: row.insertCell()};
  });
  return (proba, before) => rows.forEach(({row, bar, ghost, number}, digit) => {
    ghost.hidden = !proba || !before || before[digit] < 0.01 || Math.abs(proba[digit] - before[digit]) < 0.005;
    if (!ghost.hidden) ghost.style.width = `${100 * before[digit]}%`;
    bar.style.width = proba ? `${100 * proba[digit]}%` : "0";
    number.textContent = proba ? `${(100 * proba[digit]).toFixed(1)}%` : "–";
    row.className = proba && proba[digit] === Math.max(...proba) ? "most" : "";
  });
}
