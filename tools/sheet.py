"""Make the sample sheet, nbs/samples/sheet.png, and the digits on it, sheet.txt:

    python tools/sheet.py
"""
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from digit_recognizer.data import load_embedded
from digit_recognizer.runs.folder import load_run

ROOT = Path(__file__).resolve().parent.parent
LINES = (8, 7, 9, 6)  # digits in each
WIDE, HIGH = 640, 480


def place(page, img, rng, line, column):
    "Draw a digit of random size and slant into its place on the sheet."
    size = int(rng.integers(56, 92))
    digit = Image.fromarray(img).resize((size, size), Image.Resampling.BICUBIC)
    digit = np.asarray(digit.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC)) / 255
    left = 12 + column * 68 + rng.integers(0, 68 - size * 20 // 28 + 1) - size * 4 // 28
    top = 15 + line * 114 + rng.integers(0, 25)
    left = max(left, 0)
    page[top:top + size, left:left + size] = np.maximum(page[top:top + size, left:left + size], digit)


def photograph(page, rng):
    "The sheet as dark ink on grainy paper that is lit from one side."
    r, c = np.mgrid[-1:1:HIGH * 1j, -1:1:WIDE * 1j]
    light = 205 + 22 * c - 14 * r - 18 * (r * r + c * c)
    grain = gaussian_filter(rng.normal(size=page.shape), 2) * 9 + rng.normal(size=page.shape) * 0.6
    photo = np.clip((light + grain) * (1 - 0.72 * page), 0, 255)
    return (np.rint(photo / 5) * 5).astype(np.uint8)


def write_sheet(out):
    "Draw validation digits, on which the committed run was not trained."
    rng, digits = np.random.default_rng(6), load_embedded()
    validation = load_run(ROOT / "nbs" / "results" / "fast").validation["rows"]
    rows = rng.choice(validation, sum(LINES), replace=False)
    page, text = np.zeros((HIGH, WIDE)), []
    for line, n in enumerate(LINES):
        here, rows = rows[:n], rows[n:]
        text.append("".join(map(str, digits.y[here])))
        for column, row in enumerate(here):
            place(page, digits.x[row], rng, line, column)
    Image.fromarray(photograph(page, rng)).save(out / "sheet.png", optimize=True)
    (out / "sheet.txt").write_text("\n".join(text) + "\n", encoding="ascii", newline="\n")
    print(text, (out / "sheet.png").stat().st_size, "bytes")


if __name__ == "__main__":
    write_sheet(ROOT / "nbs" / "samples")
