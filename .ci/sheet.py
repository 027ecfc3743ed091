"""Make the sample sheet, nbs/samples/sheet.png, and what is written on it, sheet.txt: python .ci/sheet.py."""
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from digit_recognizer.data import load_embedded
from digit_recognizer.runs import load_run

LINES = (8, 7, 9, 6)  # digits in each
WIDE, HIGH = 640, 480

rng, digits = np.random.default_rng(6), load_embedded()
rows = rng.choice(load_run("nbs/results/fast").validation["rows"], sum(LINES), replace=False)  # not trained on
page, text = np.zeros((HIGH, WIDE)), []
for line, n in enumerate(LINES):
    mine, rows = rows[:n], rows[n:]
    text.append("".join(map(str, digits.y[mine])))
    for place, row in enumerate(mine):
        size = int(rng.integers(56, 92))
        digit = Image.fromarray(digits.x[row]).resize((size, size), Image.Resampling.BICUBIC)
        digit = np.asarray(digit.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC)) / 255
        left = 12 + place * 68 + rng.integers(0, 68 - size * 20 // 28 + 1) - size * 4 // 28
        top = 15 + line * 114 + rng.integers(0, 25)
        left = max(left, 0)
        page[top:top + size, left:left + size] = np.maximum(page[top:top + size, left:left + size], digit)
r, c = np.mgrid[-1:1:HIGH * 1j, -1:1:WIDE * 1j]
light = 205 + 22 * c - 14 * r - 18 * (r * r + c * c)
grain = gaussian_filter(rng.normal(size=page.shape), 2) * 9 + rng.normal(size=page.shape) * 0.6
seen = np.clip((light + grain) * (1 - 0.72 * page), 0, 255)
out = Path("nbs/samples")
Image.fromarray((np.rint(seen / 5) * 5).astype(np.uint8)).save(out / "sheet.png", optimize=True)
(out / "sheet.txt").write_text("\n".join(text) + "\n", encoding="ascii", newline="\n")
print(text, (out / "sheet.png").stat().st_size, "bytes")
