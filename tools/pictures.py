"""Make the pictures of the README and the home page from committed results:

    python tools/pictures.py
"""
import base64
import io
import json
from html import escape
from pathlib import Path

import numpy as np
from outputs import picture, same
from PIL import Image

from digit_recognizer import read
from digit_recognizer.data import load_embedded
from digit_recognizer.evaluate import mistakes

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "nbs" / "pictures"
WIDE = 420  # pixels: two stand side by side in a README, and one fills a phone
ACCENT, WRONG, SOFT, INK, LINE = "#1a5fb4", "#c23616", "#566273", "#1c2430", "#d9dee5"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def text(x, y, words, size=13, fill=INK, anchor="start", weight=400):
    "Words at a place."
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" font-weight="{weight}">{escape(str(words))}</text>'


def image(png, x, y, wide, high):
    "An embedded PNG at a place."
    return f'<image x="{x:g}" y="{y:g}" width="{wide:g}" height="{high:g}" href="data:image/png;base64,{base64.b64encode(png).decode()}"/>'


def svg(high, title, *parts):
    "A picture on a white card, which is legible on dark pages too."
    card = f'<rect x=".5" y=".5" width="{WIDE - 1}" height="{high - 1}" rx="8" fill="#fff" stroke="{LINE}"/>'
    head = text(16, 28, title, size=15, weight=600)
    body = "\n".join([f"<title>{escape(title)}</title>", card, head, *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {high}" width="{WIDE}" height="{high}" font-family="{FONT}">\n{body}\n</svg>\n'


def row_of_digits(imgs, left, top, size, step):
    "Digits side by side, as one PNG."
    ratio = 28 / size
    sheet = np.full((28, round(step * ratio * (len(imgs) - 1)) + 28), 255, np.uint8)
    for i, img in enumerate(imgs):
        at = round(i * step * ratio)
        sheet[:, at:at + 28] = 255 - img
    file = io.BytesIO()
    Image.fromarray(sheet).quantize(8).save(file, "PNG", optimize=True)
    return image(file.getvalue(), left, top, sheet.shape[1] / ratio, size)


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
    return svg(126, f"{right.sum():,} of {len(y):,} unseen digits are read right", row_of_digits(x[chosen], 19, 42, 34, 38.6), *answers)


def wrong():
    "The mistakes that the committed run is surest of: the answer, and the label."
    x, y, proba = validated()
    worst = list(mistakes(y, proba).row[:8])
    answers = [text(40 + 48.5 * i, 94, proba[n].argmax(), anchor="middle", weight=600, fill=WRONG) for i, n in enumerate(worst)]
    answers += [text(40 + 48.5 * i, 112, f"label {y[n]}", 11, SOFT, "middle") for i, n in enumerate(worst)]
    return svg(126, f"The {len(worst)} worst of its {(proba.argmax(1) != y).sum()} mistakes", row_of_digits(x[worst], 23, 42, 34, 48.5), *answers)


def sheet():
    "The sample sheet with the answers of the pretrained model."
    place = ROOT / "nbs" / "samples" / "sheet.png"
    png, scale, top = place.read_bytes(), (WIDE - 32) / 640, 44
    found, truth = read(place).readings, "".join((ROOT / "nbs" / "samples" / "sheet.txt").read_text().split())
    right = sum(str(d.digit) == t for d, t in zip(found, truth)) if len(found) == len(truth) else 0
    marks = []
    for d in found:
        x0, y0, x1, y1 = (scale * v for v in d.piece.box)
        fill = WRONG if d.piece.doubt else ACCENT
        marks.append(f'<rect x="{16 + x0:.1f}" y="{top + y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" fill="none" stroke="{fill}" stroke-width="1.5" rx="2"/>')
        marks.append(text(round(14 + x1, 1), round(top + y0 + 1, 1), d.digit, 15, fill, weight=700))
    return svg(350, f"A sheet of digits: {right} of {len(truth)} digits are right", image(png, 16, top, WIDE - 32, 480 * scale), *marks)


def curves():
    "CPU-seconds and errors after each epoch, of the original and of each training of the default recipe."
    race = json.loads((ROOT / "benchmarks" / "results" / "time_to_accuracy.json").read_text(encoding="utf-8"))["results"]
    return {name: [[(e["cpu_seconds"], e["errors"]) for e in r["epochs"]] for r in race if r["contender"] == name] for name in ("original", "fast")}


def race():
    "Errors over CPU-seconds of training, both on a logarithmic scale."
    runs = curves()
    left, right, top, bottom = 56, WIDE - 20, 52, 300
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
    parts += [text(right, round(down(140), 1), f"the original: {seconds['original']:,.0f} s", 13, SOFT, "end", 600),
              text(round(across(seconds["fast"]) + 10, 1), round(down(38) + 4, 1), f"fast: {seconds['fast']:.0f} s ({len(runs['fast'])} seeds)", 13, ACCENT, weight=600)]
    return svg(350, f"1/{seconds['original'] / seconds['fast']:.0f} of the CPU time, and fewer errors", *parts)


PICTURES = {"digits": digits, "wrong": wrong, "sheet": sheet, "race": race}


def split(drawn):
    "A picture without its PNG, and the PNG."
    png = picture(drawn)
    return {"rest": drawn.replace(png, ""), "png": png} if png in drawn else {"rest": drawn, "png": ""}


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    for name, make in PICTURES.items():
        place, drawn = OUT / f"{name}.svg", make()
        if not place.exists() or not same(split(place.read_text(encoding="utf-8")), split(drawn)):
            place.write_text(drawn, encoding="utf-8", newline="\n")
