// The widget for Jupyter: a drawing goes to the kernel, which reads it, and its answer is shown.
function render({model, el}) {
  const root = make(el, "div", {className: "digit-pad"}), left = make(root, "div"), right = make(root, "div");
  const canvas = make(left, "canvas", {className: "draw"});
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Drawing area, for mouse, finger or pen");
  const drawing = new Drawing(canvas, finished => {
    if (!finished) return;
    const {data} = drawing.pixels(), grey = Uint8Array.from({length: SIDE * SIDE}, (_, i) => data[4 * i]);
    model.set("picture", new DataView(drawing.empty ? new ArrayBuffer(0) : grey.buffer));
    model.save_changes();
  });
  const buttons = make(left, "div");
  make(buttons, "button", {type: "button", textContent: "Undo", onclick: () => drawing.undo()});
  make(buttons, "button", {type: "button", textContent: "Clear", onclick: () => drawing.clear()});
  const words = make(right, "p", {className: "words"});
  words.setAttribute("role", "status");
  const digit = (parent, levels, caption) => {
    const figure = make(parent, "figure"), image = make(figure, "canvas", {width: 28, height: 28});
    image.setAttribute("role", "img");
    image.setAttribute("aria-label", caption);
    showDigit(image, levels);
    make(figure, "figcaption", {textContent: caption});
  };
  const seen = make(right, "div", {className: "digits"}), fill = bars(make(right, "table"));
  const tell = () => {
    const {words: said, proba, seen: levels, nearest} = model.get("answer");
    words.textContent = said;
    fill(proba);
    seen.replaceChildren();
    if (levels) digit(seen, levels, "seen");
    for (const near of nearest || []) digit(seen, near.levels, `${near.label}`);
  };
  model.on("change:answer", tell);
  tell();
  return () => model.off("change:answer", tell);
}

export default {render};
