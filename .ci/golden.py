"""Make nbs/results/golden.json, by which the normaliser is the same in Python and in JavaScript: python .ci/golden.py"""
import base64
import json
import zlib
from pathlib import Path

import numpy as np

from digit_recognizer.data import InputError, load_embedded
from digit_recognizer.drawings import LIMITS, NORMALISER, normalise

digits, rng = load_embedded(), np.random.default_rng(6)


def packed(a):
    return base64.b64encode(zlib.compress(a.tobytes(), 9)).decode()


def placed(img, by, margins, soft=False):
    "A digit blown up `by` times, with so many pixels of background at the top, bottom, left and right."
    big = np.kron(img, np.ones((by, by), np.uint8))
    if soft:
        big = (sum(np.roll(big.astype(int), (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) // 9).astype(np.uint8)
    return np.pad(big, (margins[:2], margins[2:]))


def on_paper(img, noise):
    "Dark ink on paper that is lit from one side."
    r, c = np.mgrid[: img.shape[0], : img.shape[1]]
    paper = 215 - 0.5 * r - 0.3 * c + rng.normal(0, noise, img.shape)
    return np.clip(paper * (1 - img / 255 * 0.75), 0, 255).astype(np.uint8)


def thicker(img, by):
    out = img
    for _ in range(by):
        p = np.pad(out, 1)
        out = np.max([p[i : i + out.shape[0], j : j + out.shape[1]] for i in range(3) for j in range(3)], 0)
    return out


pictures = {}
first = [int(np.flatnonzero(digits.y == d)[k]) for k in (0, 1) for d in range(10)]
for n, row in enumerate(first):
    by = (1, 2, 3, 4, 5, 6, 8, 10, 12, 7)[n % 10]
    margins = tuple(int(m) for m in rng.integers(0, 60, 4))
    pictures[f"a {digits.y[row]}, {by} times"] = placed(digits.x[row], by, margins) if n < 10 else 255 - placed(digits.x[row], by, margins, soft=True)
    pictures.setdefault(f"a {digits.y[row]}, as it is", digits.x[row])
for d in range(10):
    img = placed(digits.x[first[d]], 4, (10, 20, 15, 5))
    if d % 2:
        pictures[f"a {d}, thick"] = thicker(img, 4)
    else:
        pictures[f"a {d}, thin and pale"] = (255 - thicker(255 - img, 2)) // 3
for d in range(6):
    pictures[f"a {d} on uneven paper"] = on_paper(placed(digits.x[first[d]], 3, (5, 12, 8, 3)), d)
side = np.arange(60)
ring = abs(np.hypot(side[:, None] - 30, side - 30) - 20)
pictures |= {
    "a ring, half dark": np.where(ring < 3, 128, 0).astype(np.uint8),
    "a bar": np.pad(np.full((80, 9), 200, np.uint8), 20),
    "a picture of three rows": np.pad(np.full((1, 30), 255, np.uint8), 1),
    "a speck beside a digit": np.maximum(placed(digits.x[first[3]], 6, (8, 8, 8, 8)), np.pad(np.full((3, 3), 255, np.uint8), ((2, 179), (2, 179)))),
    "blank, black": np.zeros((50, 40), np.uint8),
    "blank, white": np.full((28, 28), 255, np.uint8),
    "blank, almost": rng.integers(100, 104, (30, 30)).astype(np.uint8),
    "one pixel": np.full((1, 1), 7, np.uint8),
    "a dot": np.pad(np.full((3, 3), 255, np.uint8), 12),
    "a blot": np.pad(np.full((40, 40), 255, np.uint8), 12),
    "noise": rng.integers(0, 256, (40, 40)).astype(np.uint8),
    "noise on even ground": np.pad(np.kron(rng.integers(0, 2, (20, 20)).astype(np.uint8) * 255, np.ones((4, 4), np.uint8)), 8),
    "finer noise on even ground": np.pad(rng.integers(0, 2, (60, 60)).astype(np.uint8) * 255, 8),
    "two digits": np.hstack([placed(digits.x[first[4]], 3, (9, 9, 9, 9)), placed(digits.x[first[7]], 3, (9, 9, 9, 9))]),
    "a dash": np.pad(np.full((6, 60), 255, np.uint8), 30),
    "five dots": np.pad(np.kron(np.eye(5, dtype=np.uint8) * 255, np.pad(np.ones((8, 8), np.uint8), 2)), 9),
}
for radius in (4, 10, 20):
    n = 2 * radius + 41
    r, c = np.mgrid[:n, :n] - (n - 1) / 2
    pictures[f"a round dot of radius {radius}"] = np.rint(np.clip(radius + 0.5 - np.hypot(r, c), 0, 1) * 255).astype(np.uint8)
one, seven = (digits.x[first[d]][:, digits.x[first[d]].any(0)] for d in (1, 7))
for gap in (1, 3):
    pictures[f"a 1 and a 7, {gap} pixels apart"] = np.pad(np.kron(np.hstack([one, np.zeros((28, gap), np.uint8), seven]), np.ones((4, 4), np.uint8)), 20)
low, high = (np.pad(np.full((n, 3), 255, np.uint8), ((0, 16 - n), (0, 0))) for n in (10, 16))
pictures["two bars, one 62.5 % as high"] = np.pad(np.kron(np.hstack([low, np.zeros((16, 14), np.uint8), high]), np.ones((4, 4), np.uint8)), 20)
examples = []
for name, picture in pictures.items():
    example = {"name": name, "shape": list(picture.shape), "picture": packed(picture)}
    try:
        example["seen"] = packed(normalise(picture))
    except InputError as e:
        example["refused"] = str(e)
    examples.append(example)
file = Path("nbs/results/golden.json")
limits = {name: [low, high] for name, (low, high, _) in LIMITS.items()}
lines = ",\n".join(map(json.dumps, examples))
file.write_text(f'{{"normaliser": {NORMALISER}, "limits": {json.dumps(limits)}, "examples": [\n{lines}\n]}}\n')
print(f"{file}: {len(examples)} examples, {sum('refused' in e for e in examples)} refused, {file.stat().st_size:,} bytes")
