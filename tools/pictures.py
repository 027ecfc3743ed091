"""Make the pictures of the README and the home page from committed results:

    python tools/pictures.py
"""
import base64
import io
import json
import re
from html import escape
from pathlib import Path

import numpy as np
from outputs import PNG, same
from PIL import Image

from digit_recognizer import read
from digit_recognizer.data import load_embedded
from digit_recognizer.evaluate import mistakes

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "nbs" / "pictures"
PNG_IN_SVG = re.escape(PNG) + r'[^"]+'
WIDE = 420  # pixels: two stand side by side in a README, and one fills a phone
ACCENT, WRONG, SOFT, INK, LINE = "#1a5fb4", "#c23616", "#566273", "#1c2430", "#d9dee5"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def text(x, y, words, size=13, fill=INK, anchor="start", weight=400):
    "Words at a place."
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" font-weight="{weight}">{escape(str(words))}</text>'


def image(png, x, y, wide, high):
    "An embedded PNG at a place."
    return f'<image x="{x:g}" y="{y:g}" width="{wide:g}" height="{high:g}" href="data:image/png;base64,{base64.b64encode(png).decode()}"/>'


def card(wide, high, *parts):
    "A picture on a white card, which is legible on dark pages too."
    back = f'<rect x=".5" y=".5" width="{wide - 1}" height="{high - 1}" rx="8" fill="#fff" stroke="{LINE}"/>'
    body = "\n".join([back, *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" font-family="{FONT}">\n{body}\n</svg>\n'


def svg(high, title, *parts):
    "A card with a finding as its title."
    return card(WIDE, high, text(16, 28, title, size=15, weight=600), *parts)


def grid(imgs, left, top, size, step, cols=99):
    "Digits, or maps of the same side, in rows; one PNG. The few pixels of a map stay squares."
    if imgs.shape[1] < 28:
        imgs = imgs.repeat(28 // imgs.shape[1], 1).repeat(28 // imgs.shape[1], 2)
    side, cols = imgs.shape[1], min(cols, len(imgs))
    ratio = side / size
    places = [(round(i // cols * step * ratio), round(i % cols * step * ratio)) for i in range(len(imgs))]
    sheet = np.full((places[-1][0] + side, max(x for _, x in places) + side), 255, np.uint8)
    for (y, x), img in zip(places, imgs):
        sheet[y:y + side, x:x + side] = 255 - img
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG", optimize=True)
    return image(file.getvalue(), left, top, sheet.shape[1] / ratio, sheet.shape[0] / ratio)


def validated():
    "Images, labels and probabilities of the validation digits of the committed run."
    kept = np.load(ROOT / "nbs" / "results" / "fast" / "validation.npz")
    return load_embedded().x[kept["rows"]], kept["y"], kept["proba"]


def digits():
    "The first validation digit of each class that is read right, and the answer."
    x, y, proba = validated()
    right = proba.argmax(1) == y
    chosen = [np.flatnonzero(right & (y == label))[0] for label in range(10)]
    answers = [text(36 + 38.6 * i, 94, proba[n].argmax(), anchor="middle", weight=600, fill=ACCENT) for i, n in enumerate(chosen)]
    answers += [text(36 + 38.6 * i, 112, f"{proba[n].max():.1%}", 11, SOFT, "middle") for i, n in enumerate(chosen)]
    return svg(126, f"{right.sum():,} of {len(y):,} unseen digits are read right", grid(x[chosen], 19, 42, 34, 38.6), *answers)


def wrong():
    "The mistakes that the committed run is surest of: the answer, and the label."
    x, y, proba = validated()
    worst = list(mistakes(y, proba).row[:8])
    answers = [text(40 + 48.5 * i, 94, proba[n].argmax(), anchor="middle", weight=600, fill=WRONG) for i, n in enumerate(worst)]
    answers += [text(40 + 48.5 * i, 112, f"label {y[n]}", 11, SOFT, "middle") for i, n in enumerate(worst)]
    return svg(126, f"The {len(worst)} worst of its {(proba.argmax(1) != y).sum()} mistakes", grid(x[worst], 23, 42, 34, 48.5), *answers)


def sheet():
    "The sample sheet with the answers of the pretrained model."
    place = ROOT / "nbs" / "samples" / "sheet.png"
    scale, top, file = (WIDE - 32) / 640, 44, io.BytesIO()
    half = np.asarray(Image.open(place).convert("L").resize((320, 240), Image.Resampling.BOX))
    Image.fromarray(half // 8 * 8 + 4).save(file, "PNG", optimize=True)  # few grey levels make a small file
    found, truth = read(place).readings, "".join((ROOT / "nbs" / "samples" / "sheet.txt").read_text().split())
    right = sum(str(d.digit) == t for d, t in zip(found, truth)) if len(found) == len(truth) else 0
    marks = []
    for d in found:
        x0, y0, x1, y1 = (scale * v for v in d.piece.box)
        fill = WRONG if d.piece.doubt else ACCENT
        marks.append(f'<rect x="{16 + x0:.1f}" y="{top + y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" fill="none" stroke="{fill}" stroke-width="1.5" rx="2"/>')
        marks.append(text(round(14 + x1, 1), round(top + y0 + 1, 1), d.digit, 15, fill, weight=700))
    return svg(350, f"A sheet of digits: {right} of {len(truth)} are read right", image(file.getvalue(), 16, top, WIDE - 32, 480 * scale), *marks)


def curves():
    "CPU-seconds and errors after each epoch, of the original and of each training of the default recipe."
    race = json.loads((ROOT / "benchmarks" / "results" / "time_to_accuracy.json").read_text(encoding="utf-8"))["results"]
    return {name: [[(e["cpu_seconds"], e["errors"]) for e in r["epochs"]] for r in race if r["contender"] == name] for name in ("original", "fast")}


def race():
    "Errors over CPU-seconds of training, both on a logarithmic scale."
    runs = curves()
    left, right, top, bottom = 56, WIDE - 20, 62, 304
    def across(seconds): return left + (right - left) * np.log(seconds / 4) / np.log(4000 / 4)
    def down(errors): return top + (bottom - top) * np.log(600 / errors) / np.log(600 / 28)
    parts = []
    for errors in (30, 50, 100, 200, 500):
        parts += [f'<line x1="{left}" x2="{right}" y1="{down(errors):.1f}" y2="{down(errors):.1f}" stroke="{LINE}"/>', text(left - 8, round(down(errors) + 4, 1), errors, 12, SOFT, "end")]
    parts += [text(round(across(s), 1), bottom + 20, f"{s:,}", 12, SOFT, "middle") for s in (5, 20, 100, 500, 3000)]
    parts += [text((left + right) / 2, bottom + 40, "CPU-seconds of training", 12, SOFT, "middle"), text(left - 40, top - 8, "errors of 8,400", 12, SOFT)]
    for name, colour, width in (("original", SOFT, 2), ("fast", ACCENT, 1.3)):
        for run in runs[name]:
            points = " ".join(f"{across(s):.1f},{down(min(e, 600)):.1f}" for s, e in run)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
    seconds = {name: np.median([run[-1][0] for run in runs[name]]) for name in runs}
    fewer = max(run[-1][1] for run in runs["fast"]) < min(errors for _, errors in runs["original"][0])
    parts += [text(right, round(down(185), 1), f"the original: {seconds['original']:,.0f} s", 13, SOFT, "end", 600),
              text(round(across(seconds["fast"]) + 10, 1), round(down(38) + 4, 1), f"fast: {seconds['fast']:.0f} s ({len(runs['fast'])} seeds)", 13, ACCENT, weight=600)]
    return svg(350, f"1/{seconds['original'] / seconds['fast']:.0f} of the CPU time" + ", and fewer errors" * fewer, *parts)


# The six stages: without words, because pages in several languages share them.

STAGE = 240, 132  # pixels


def data():
    "The first digits of the data."
    return card(*STAGE, grid(load_embedded().x[:28], 16, 12, 24, 30.5, cols=7))


def preprocess():
    "A digit, and the same digit augmented in several ways."
    from digit_recognizer.preprocess import augment

    one = load_embedded().x[1:2]
    many = augment(np.repeat(one[..., None], 12, 0), (0, 1)).numpy()[..., 0]
    arrow = f'<path d="M84 66h22m-6 -6l6 6l-6 6" fill="none" stroke="{ACCENT}" stroke-width="2.5"/>'
    return card(*STAGE, grid(one, 12, 32, 66, 66), arrow, grid(np.rint(many).astype(np.uint8), 114, 12, 26, 29.5, cols=4))


def model():
    "Feature maps of a digit after each stage of the pretrained network, and its ten probabilities."
    from digit_recognizer.core.network import compute
    from digit_recognizer.runs.folder import pretrained_run
    from digit_recognizer.runs.network import operations

    net, one = operations(pretrained_run().model), load_embedded().x[3:4]
    after = [compute(net[:step], one[..., None])[0] for step in range(1, len(net) + 1)]
    stages = list({len(values): values for values in after if values.ndim == 3}.values())[1:]  # the last values of each size
    parts = [grid(one, 10, 45, 42, 42)]
    for left, values in zip((62, 106, 150), stages):
        strongest = values.transpose(2, 0, 1)[values.mean((0, 1)).argsort()[:-4:-1]]
        shown = np.rint(255 * np.clip(strongest / strongest.max(), 0, 1)).astype(np.uint8)
        parts += [grid(shown[i:i + 1], left, 8 + 40 * i, 36, 36) for i in range(3)]
    proba = after[-1]
    for digit, p in enumerate(proba):
        bold = digit == proba.argmax()
        parts += [text(198, 18 + 11.6 * digit, digit, 10, INK if bold else SOFT, weight=700 if bold else 400),
                  f'<rect x="208" y="{10.5 + 11.6 * digit:g}" width="{max(1, 24 * p):.1f}" height="8" fill="{ACCENT}"/>']
    return card(*STAGE, *parts)


def train():
    "The learning curve of the committed run: accuracy on training and on validation digits."
    import csv

    with open(ROOT / "nbs" / "results" / "fast" / "curve.csv", encoding="utf-8") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    errors = {key: [1 - row[key] for row in rows] for key in ("accuracy", "val_accuracy")}
    both = errors["accuracy"] + errors["val_accuracy"]
    low, high = min(both), max(both)  # on a logarithmic scale
    def line(key, colour):
        points = " ".join(f"{24 + 196 * i / (len(rows) - 1):.1f},{16 + 96 * np.log(e / low) / np.log(high / low):.1f}" for i, e in enumerate(errors[key]))
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5" transform="matrix(1 0 0 -1 0 128)"/>'
    axes = f'<path d="M24 10v106h200" fill="none" stroke="{SOFT}"/>'
    return card(*STAGE, axes, line("accuracy", SOFT), line("val_accuracy", ACCENT))


def evaluate():
    "The confusion matrix of the committed run, without its diagonal."
    _, y, proba = validated()
    cm = np.zeros((10, 10), int)
    np.add.at(cm, (y, proba.argmax(1)), 1)
    np.fill_diagonal(cm, 0)
    cells = [f'<rect x="{77 + 10 * c:g}" y="{20 + 10 * r:g}" width="9.4" height="9.4" rx="1" fill="{WRONG if cm[r, c] else LINE}" fill-opacity="{.25 + .75 * cm[r, c] / cm.max() if cm[r, c] else 1 if r == c else .35:.2f}"/>'
             for r in range(10) for c in range(10)]
    names = [text(81.7 + 10 * d, 16, d, 9, SOFT, "middle") + text(70, 28 + 10 * d, d, 9, SOFT, "middle") for d in range(10)]
    return card(*STAGE, *cells, *names)


def submit():
    "The first digits to predict, and their lines in the submission."
    from digit_recognizer.core.predict import predict
    from digit_recognizer.runs.folder import pretrained_run

    x = load_embedded().x_test[:4]
    answers = predict(pretrained_run().model, x).argmax(1)
    lines = ["ImageId,Label", *(f"{i},{a}" for i, a in enumerate(answers, 1))]
    words = [f'<text x="112" y="{28 + 22 * i}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14" fill="{INK if i else SOFT}">{line}</text>' for i, line in enumerate(lines)]
    arrow = f'<path d="M72 70h22m-6 -6l6 6l-6 6" fill="none" stroke="{ACCENT}" stroke-width="2.5"/>'
    return card(*STAGE, grid(x, 36, 34, 20, 22, cols=1), arrow, *words)


PICTURES = {"data": data, "preprocess": preprocess, "model": model, "train": train, "evaluate": evaluate, "submit": submit, "digits": digits, "wrong": wrong, "sheet": sheet, "race": race}


def split(drawn):
    "A picture without its PNGs, and these, so that `same` forgives a grey level or two."
    return {"rest": re.sub(PNG_IN_SVG, "", drawn), "pngs": re.findall(PNG_IN_SVG, drawn)}


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    for name, make in PICTURES.items():
        place, drawn = OUT / f"{name}.svg", make()
        if not place.exists() or not same(split(place.read_text(encoding="utf-8")), split(drawn)):
            place.write_text(drawn, encoding="utf-8", newline="\n")
