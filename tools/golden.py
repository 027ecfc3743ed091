"""Make nbs/results/golden.json, which holds the normaliser to the same results in Python and in JavaScript:

    python tools/golden.py
"""
import base64
import json
import zlib
from pathlib import Path

import numpy as np

from digit_recognizer.core.files import InputError
from digit_recognizer.data import load_embedded
from digit_recognizer.images.normalise import LIMITS, NORMALISER, normalise

FILE = Path(__file__).resolve().parent.parent / "nbs" / "results" / "golden.json"
SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 7)


def packed(a):
    return base64.b64encode(zlib.compress(a.tobytes(), 9)).decode()


def placed(img, by, margins, soft=False):
    "A digit blown up `by` times, with margins of background at the top, bottom, left and right."
    big = np.kron(img, np.ones((by, by), np.uint8))
    if soft:
        shifted = [np.roll(big.astype(int), (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        big = (sum(shifted) // 9).astype(np.uint8)
    return np.pad(big, (margins[:2], margins[2:]))


def on_paper(img, noise, rng):
    "Dark ink on paper that is lit from one side."
    r, c = np.mgrid[: img.shape[0], : img.shape[1]]
    paper = 215 - 0.5 * r - 0.3 * c + rng.normal(0, noise, img.shape)
    return np.clip(paper * (1 - img / 255 * 0.75), 0, 255).astype(np.uint8)


def thicker(img, by):
    "Ink spread by `by` pixels to each side."
    for _ in range(by):
        p = np.pad(img, 1)
        img = np.max([p[i: i + img.shape[0], j: j + img.shape[1]] for i in range(3) for j in range(3)], 0)
    return img


def bar(height, width, margin, level=255):
    "A rectangle of ink with a margin on each side."
    return np.pad(np.full((height, width), level, np.uint8), margin)


def enlarged(img, margin):
    "An image blown up four times."
    return np.pad(np.kron(img, np.ones((4, 4), np.uint8)), margin)


def digit_pictures(digits, first, rng):
    "Digits at many sizes, places and thicknesses, dark on light and light on dark."
    pictures = {}
    for n, row in enumerate(first):
        by, img, y = SCALES[n % 10], digits.x[row], digits.y[row]
        margins = tuple(int(m) for m in rng.integers(0, 60, 4))
        big = placed(img, by, margins) if n < 10 else 255 - placed(img, by, margins, soft=True)
        pictures[f"a {y}, {by} times"] = big
        pictures.setdefault(f"a {y}, as it is", img)
    for d in range(10):
        img = placed(digits.x[first[d]], 4, (10, 20, 15, 5))
        if d % 2:
            pictures[f"a {d}, thick"] = thicker(img, 4)
        else:
            pictures[f"a {d}, thin and pale"] = (255 - thicker(255 - img, 2)) // 3
    for d in range(6):
        pictures[f"a {d} on uneven paper"] = on_paper(placed(digits.x[first[d]], 3, (5, 12, 8, 3)), d, rng)
    return pictures


def other_pictures(digits, first, rng):
    "Pictures that are refused, or nearly so."
    side = np.arange(60)
    ring = abs(np.hypot(side[:, None] - 30, side - 30) - 20)
    speck = np.pad(np.full((3, 3), 255, np.uint8), ((2, 179), (2, 179)))
    dots = np.kron(np.eye(5, dtype=np.uint8) * 255, np.pad(np.ones((8, 8), np.uint8), 2))
    return {
        "a ring, half dark": np.where(ring < 3, 128, 0).astype(np.uint8),
        "a bar": bar(80, 9, 20, 200),
        "a picture of three rows": bar(1, 30, 1),
        "a speck beside a digit": np.maximum(placed(digits.x[first[3]], 6, (8, 8, 8, 8)), speck),
        "blank, black": np.zeros((50, 40), np.uint8),
        "blank, white": np.full((28, 28), 255, np.uint8),
        "blank, almost": rng.integers(100, 104, (30, 30)).astype(np.uint8),
        "one pixel": np.full((1, 1), 7, np.uint8),
        "a dot": bar(3, 3, 12),
        "a blot": bar(40, 40, 12),
        "noise": rng.integers(0, 256, (40, 40)).astype(np.uint8),
        "noise on even ground": enlarged(rng.integers(0, 2, (20, 20)).astype(np.uint8) * 255, 8),
        "finer noise on even ground": np.pad(rng.integers(0, 2, (60, 60)).astype(np.uint8) * 255, 8),
        "two digits": np.hstack([placed(digits.x[first[d]], 3, (9, 9, 9, 9)) for d in (4, 7)]),
        "a dash": bar(6, 60, 30),
        "five dots": np.pad(dots, 9),
    }


def round_dot(radius):
    "A soft disc."
    n = 2 * radius + 41
    r, c = np.mgrid[:n, :n] - (n - 1) / 2
    return np.rint(np.clip(radius + 0.5 - np.hypot(r, c), 0, 1) * 255).astype(np.uint8)


def near_limits(digits, first):
    "Dots, and figures of two pieces, on either side of a limit."
    pictures = {f"a round dot of radius {radius}": round_dot(radius) for radius in (4, 10, 20)}
    one, seven = (digits.x[first[d]][:, digits.x[first[d]].any(0)] for d in (1, 7))
    for gap in (1, 3):
        both = np.hstack([one, np.zeros((28, gap), np.uint8), seven])
        pictures[f"a 1 and a 7, {gap} pixels apart"] = enlarged(both, 20)
    low, high = (np.pad(np.full((n, 3), 255, np.uint8), ((0, 16 - n), (0, 0))) for n in (10, 16))
    bars = np.hstack([low, np.zeros((16, 14), np.uint8), high])
    return pictures | {"two bars, one 62.5 % as high": enlarged(bars, 20)}


def transparent_pictures(digits, first):
    "A black and a white pen on a transparent picture: red, green, blue and opacity."
    ink = placed(digits.x[first[5]], 3, (5, 9, 7, 12), soft=True)
    return {f"a 5 in {name} on a transparent picture": np.dstack([np.full((*ink.shape, 3), level, np.uint8), ink])
            for name, level in (("black", 0), ("white", 255))}


def example(name, picture):
    "A picture, and what the normaliser makes of it."
    facts = {"name": name, "shape": list(picture.shape), "picture": packed(picture)}
    try:
        return facts | {"seen": packed(normalise(picture))}
    except InputError as e:
        return facts | {"refused": str(e)}


def examples():
    "All golden examples."
    digits, rng = load_embedded(), np.random.default_rng(6)
    first = [int(np.flatnonzero(digits.y == d)[k]) for k in (0, 1) for d in range(10)]
    pictures = digit_pictures(digits, first, rng) | other_pictures(digits, first, rng) | near_limits(digits, first)
    pictures |= transparent_pictures(digits, first)
    return [example(name, picture) for name, picture in pictures.items()]


def golden():
    "The text of golden.json."
    limits = {name: [low, high] for name, (low, high, _) in LIMITS.items()}
    lines = ",\n".join(map(json.dumps, examples()))
    return f'{{"normaliser": {NORMALISER}, "limits": {json.dumps(limits)}, "examples": [\n{lines}\n]}}\n'


if __name__ == "__main__":
    FILE.write_text(golden())
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes")
