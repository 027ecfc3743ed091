// A canvas to draw on by mouse, finger or pen, with undo; used by the field of the page and by the widget for Jupyter.
// Places are fractions of the canvas's side, so that a drawing is the same at every size.
const PEN = 1 / 13;  // width of the pen: on a digit of two thirds of the canvas, MNIST's strokes
const SIDE = 280;    // pixels of a drawing that are read, in each direction

class Drawing {
  // `changed(finished)` is called after each change; `finished` is false during a stroke.
  constructor(canvas, changed) {
    Object.assign(this, {canvas, changed, states: [[]], stroke: null});
    const place = e => {
      const box = canvas.getBoundingClientRect();
      return [(e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height];
    };
    canvas.addEventListener("pointerdown", e => {
      if (this.stroke || e.button !== 0) return;
      e.preventDefault();
      canvas.setPointerCapture(e.pointerId);
      this.pointer = e.pointerId;
      this.stroke = [place(e)];
      this.push([...this.marks.filter(Array.isArray), this.stroke], false);
    });
    canvas.addEventListener("pointermove", e => {
      if (!this.stroke || e.pointerId !== this.pointer) return;
      const steps = e.getCoalescedEvents ? e.getCoalescedEvents() : [];
      this.stroke.push(...(steps.length ? steps : [e]).map(place));
      this.update(false);
    });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(kind, e => {
      if (!this.stroke || e.pointerId !== this.pointer) return;
      this.stroke = null;
      this.update(true);
    });
    new ResizeObserver(() => this.show()).observe(canvas);
  }

  get marks() { return this.states.at(-1); }
  get empty() { return !this.marks.length; }
  push(marks, finished) { this.states.push(marks); this.update(finished); }
  undo() { if (this.states.length > 1 && !this.stroke) { this.states.pop(); this.update(true); } }
  clear() { if (!this.empty && !this.stroke) this.push([], true); }
  open(picture) { this.push([picture], true); }  // a canvas, or another thing that can be drawn and has a width and a height
  update(finished) { this.show(); this.changed(finished); }

  show() {
    const canvas = this.canvas, side = Math.round(canvas.clientWidth * devicePixelRatio);
    if (!side) return;
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const to = canvas.getContext("2d");
    to.clearRect(0, 0, side, side);
    this.paint(to, side, getComputedStyle(canvas).color);
  }

  paint(to, side, ink) {
    Object.assign(to, {lineWidth: PEN * side, lineCap: "round", lineJoin: "round", strokeStyle: ink, fillStyle: ink});
    for (const mark of this.marks) {
      if (!Array.isArray(mark)) {
        const by = side / Math.max(mark.width, mark.height), [w, h] = [mark.width * by, mark.height * by];
        to.imageSmoothingEnabled = by < 1;
        to.drawImage(mark, (side - w) / 2, (side - h) / 2, w, h);
        continue;
      }
      to.beginPath();
      for (const [x, y] of mark) to.lineTo(x * side, y * side);
      to.stroke();
      to.beginPath();
      to.arc(mark[0][0] * side, mark[0][1] * side, PEN * side / 2, 0, 7);  // a tap is a dot, which stroke() leaves out
      to.fill();
    }
  }

  // The pixels to read: a picture's own, or the strokes in black on white.
  pixels() {
    const picture = this.marks.find(mark => !Array.isArray(mark));
    const canvas = Object.assign(document.createElement("canvas"), picture ? {width: picture.width, height: picture.height} : {width: SIDE, height: SIDE});
    const to = canvas.getContext("2d", {willReadFrequently: true});
    if (picture) to.drawImage(picture, 0, 0);
    else {
      to.fillStyle = "#fff";
      to.fillRect(0, 0, SIDE, SIDE);
      this.paint(to, SIDE, "#000");
    }
    return to.getImageData(0, 0, canvas.width, canvas.height);
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

// Ten rows of digit, bar and number; gives a function that fills them, or without an argument empties them.
function bars(table) {
  const rows = Array.from({length: 10}, (_, digit) => {
    const row = table.insertRow(), head = document.createElement("th"), bar = document.createElement("div");
    head.textContent = digit;
    head.scope = "row";
    row.append(head);
    row.insertCell().append(bar);
    return {row, bar, number: row.insertCell()};
  });
  return proba => rows.forEach(({row, bar, number}, digit) => {
    bar.style.width = proba ? `${100 * proba[digit]}%` : "0";
    number.textContent = proba ? `${(100 * proba[digit]).toFixed(1)}%` : "–";
    row.className = proba && proba[digit] === Math.max(...proba) ? "most" : "";
  });
}
