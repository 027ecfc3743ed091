// The page: a field with all its parts, what happens inside the network, and pictures that are opened or pasted. Nothing
// leaves the browser.
const find = id => document.getElementById(id);

// A page that was damaged on its way must not answer. Browsers compute checksums of pages from a disk or by https.
async function check() {
  if (!window.crypto || !crypto.subtle) return;
  const sum = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(find("model").textContent));
  if (find("model").dataset.hash === "sha256-" + btoa(String.fromCharCode(...new Uint8Array(sum)))) return;
  document.querySelector("main").textContent = "The model in this page is damaged. Get the page again, or export it again.";
}
check();

const LARGEST = 1000;  // pixels of an opened picture's longer side; larger ones are made smaller first
const model = loadModel(JSON.parse(find("model").textContent));
const showLayers = mountLayers(find("layers"), model), showWhy = mountOcclusion(find("why"), model);
const field = mount(find("field"), model, {keys: document, changed: (result, finished) => {
  showLayers(result && result.values || null);
  if (finished) showWhy(result);
}}), {drawing, tell} = field;
field.canvas.setAttribute("aria-label", "Drawing area, for mouse, finger or pen. Without one of them, open a picture of a digit.");
field.buttons.append(find("open"), find("file"));

async function open(file) {
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) return tell({refused: `${file.name || "this"} is not a picture that this browser can open; try PNG or JPEG`}, true);
  const by = Math.min(1, LARGEST / Math.max(picture.width, picture.height));
  const [width, height] = [picture.width, picture.height].map(side => Math.max(1, Math.round(side * by)));
  const canvas = Object.assign(document.createElement("canvas"), {width, height}), to = canvas.getContext("2d", {willReadFrequently: true});
  to.imageSmoothingQuality = "high";
  to.drawImage(picture, 0, 0, width, height);
  drawing.open(canvas);
}

find("open").addEventListener("click", () => find("file").click());
find("file").addEventListener("change", e => {
  if (e.target.files.length) open(e.target.files[0]);
  e.target.value = "";
});
document.addEventListener("paste", e => { if (e.clipboardData.files.length) open(e.clipboardData.files[0]); });
