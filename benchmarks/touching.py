"""How well touching digits are parted, and what parting does to single digits; read as pictures, like any other.

    python benchmarks/touching.py            # twenty minutes
    python benchmarks/touching.py --small    # some seconds

Digits that no network here was trained on and no weight fitted on (the held-out ones) are moved together until their strokes
touch (`join_digits`): ink of 128 and more of one lies on or beside that of the other. Each is moved up or down by at most two
of MNIST's pixels; "pressed" digits are moved together by one pixel more. Only numbers count whose ink is one component (from
level 64) and whose boxes overlap by at most 4 pixels. Each is enlarged four times and put on even paper.

Numbers with a mark are two to five held-out digits that stand 2 to 5 pixels apart, with one point, comma, minus or slash: a
stroke with round ends, 2 to 3.5 pixels thick (a point 3 to 4.5), of random place, length and tilt within a hand's usual bounds
(`stroke`). They are right if digits and mark are, and wrong in silence if no number of the picture has a doubt.
"""
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw

from digit_recognizer.core.files import InputError
from digit_recognizer.data import load_embedded
from digit_recognizer.evaluate import Score
from digit_recognizer.images.normalise import fit_ink
from digit_recognizer.images.read import read_picture
from digit_recognizer.images.touching import INK_LEVEL, join_digits
from digit_recognizer.runs.export import small_model
from digit_recognizer.runs.folder import pretrained_run
from results import command, environment, result_file, write_result

KINDS = {"pairs": (2, 0), "triples": (3, 0), "fours": (4, 0), "pressed pairs": (2, 1), "pressed triples": (3, 1)}
SINGLE = {"single digits": 1, "the widest of ten times as many": 10}
SIGNS = {"points": ".", "commas": ",", "minuses": "-", "slashes": "/", "no marks": ""}
EACH = 500  # numbers of each kind


def paper(ink):
    "Ink enlarged, dark on even light paper."
    large = Image.fromarray(ink).resize((4*ink.shape[1], 4*ink.shape[0]), Image.Resampling.BICUBIC)
    return np.pad(235-np.rint(np.asarray(large)*.8).astype(np.uint8), 40, constant_values=235)


def shares(name, truths, pages):
    "Shares right, sure, and wrong in silence, with 95 % Wilson intervals."
    texts = [str(page) if page else "" for page in pages]
    sure = [bool(page) and not any(number.doubt for line in page.numbers for number in line) for page in pages]
    right, n = [a==b for a, b in zip(texts, truths)], len(truths)
    counts = {"right": sum(right), "sure": sum(sure), "silent": sum(s and not r for s, r in zip(sure, right)),
              "one_reading": sum(bool(page) and len(page.readings)==1 for page in pages)}
    return {"kind": name, "n": n, **{key: {"count": k, "share": k/n, "interval": list(Score(n, n-k).interval())} for key, k in counts.items()}}


def read(picture, model, rejector):
    "The page, or None for a refused picture."
    try: return read_picture(picture, model, rejector)
    except InputError: return None


def touching(digits, rows, rng, n, count, press):
    "Numbers of touching digits: their text and picture; and how many were drawn to get them."
    found, drawn = [], 0
    while len(found)<n:
        at, drawn = rng.choice(rows, count), drawn+1
        ink = join_digits(digits.x_test[at], rng, press)
        if ink is not None: found.append(("".join(map(str, digits.y_test[at])), paper(ink)))
    return found, drawn


def wide(digits, rows, n):
    "The widest of some digits."
    box = {row: np.ptp(np.argwhere(digits.x_test[row]>=64), 0)+1 for row in rows}
    return sorted(rows, key=lambda row: box[row][0]/box[row][1])[:n]


def stroke(sign, rng, x):
    "Ends of a mark's stroke and its thickness, in MNIST's pixels, where digits stand in rows 4 to 24."
    x, thick = x+rng.uniform(3, 6), rng.uniform(2, 3.5)
    if sign==".": return [x, 23+rng.uniform(-1, 1), x+rng.uniform(0, .6), 23+rng.uniform(-.5, .5)], thick+1
    if sign==",": return [x+2, 21.5+rng.uniform(-1, 1), x+2-rng.uniform(1, 3), 26+rng.uniform(-1, 2)], thick
    if sign=="-":
        y = 14+rng.uniform(-2, 2)
        return [x, y+rng.uniform(-1, 1), x+rng.uniform(7, 12), y+rng.uniform(-1, 1)], thick
    tilt, top, bottom = np.tan(np.radians(rng.uniform(14, 36))), 4-rng.uniform(3, 6), 24+rng.uniform(2, 4)
    return [x+tilt*(bottom-top), top, x, bottom], thick


def draw_stroke(page, ends, thick, zoom=4):
    "Draw a stroke with round ends."
    draw, ends, half = ImageDraw.Draw(page), [zoom*(v+4*(k%2)) for k, v in enumerate(ends)], zoom*thick/2
    draw.line(ends, 255, round(2*half))
    for x, y in (ends[:2], ends[2:]): draw.ellipse([x-half, y-half, x+half, y+half], 255)


def marked(imgs, labels, rows, rng, n, sign, zoom=4):
    "Numbers of two to five digits with a mark, their texts and pictures."
    found = []
    while len(found)<n:
        at = rng.choice(rows, rng.integers(2, 6))
        place = 0 if sign=="-" else int(rng.integers(1, len(at)))
        page, right, text = Image.new("L", (zoom*220, zoom*36)), 6., ""
        for i, row in enumerate(at):
            if sign and i==place:
                ends, thick = stroke(sign, rng, right)
                draw_stroke(page, ends, thick, zoom)
                right, text = max(ends[0], ends[2])+thick/2, text+sign
            cols = np.flatnonzero((imgs[row]>=INK_LEVEL).any(0))
            left, large = right+rng.uniform(2, 5)-cols[0], Image.fromarray(imgs[row]).resize((28*zoom, 28*zoom), Image.Resampling.BICUBIC)
            page.paste(large, (round(zoom*left), zoom*4+round(zoom*rng.uniform(-1, 1))), large)
            right, text = left+cols[-1]+1, text+str(labels[row])
        found.append((text, np.pad(235-np.rint(np.asarray(page)*.8).astype(np.uint8), 40, constant_values=235)))
    return found


def main(
    small: Annotated[bool, typer.Option("--small", help="Few numbers, to see that all works.")] = False,
    out: Annotated[Path, typer.Option(help="The result file.")] = None,
):
    out, each = result_file("touching", out, small), 4 if small else EACH
    results = [measure(name, each) for name in [*KINDS, *SINGLE, *SIGNS]]
    write_result(out, {"benchmark": "touching", "small": small, "environment": environment(),
                       "rejector": shipped_rejector() is not None, "results": results})
    for r in results: print(f"{r['kind']:>32} {r['n']:>5}", *(f"{key} {r[key]['share']:.1%}" for key in ("right", "sure", "silent")))


def measure(name, each):
    "Read numbers of one kind; which digits they hold depends on no other kind."
    digits, model, rejector = load_embedded(), small_model(pretrained_run()), shipped_rejector()
    rows, rng, more = np.arange(len(digits.y_test)), np.random.default_rng([0, *name.encode()]), {}
    if name in KINDS:
        found, drawn = touching(digits, rows, rng, each, *KINDS[name])
        more = {"drawn": drawn}
    elif name in SIGNS: found, more = marked(digits.x_test, digits.y_test, rows, rng, each, SIGNS[name]), {"mark": SIGNS[name]}
    else:
        some = rng.choice(rows, SINGLE[name]*each, replace=False)
        found = [(str(digits.y_test[row]), paper(fit_ink(digits.x_test[row]))) for row in wide(digits, some, each)]
    texts, pictures = zip(*found)
    return shares(name, texts, [read(p, model, rejector) for p in pictures])|more


def shipped_rejector():
    "The rejector that comes with the package; None where there is none."
    try: from digit_recognizer.images.rejector import load_rejector
    except ImportError: return None
    return load_rejector()


if __name__=="__main__": command(main)
