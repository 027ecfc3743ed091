"""How many images that are not digits are accepted, and how many digits are refused: by the measures of the normaliser, by the
reader's confidence, and by the rejector.

    python benchmarks/rejector.py            # two minutes
    python benchmarks/rejector.py --small    # half a minute: few images of each kind

Letters and digits of fonts that were never trained on stand in nbs/results/rejector/fonts.npz (tools/notdigits.py). All drawn
kinds are drawn here, by other means than those of the training. Fashion-MNIST comes with Debian's dataset-fashion-mnist.
"""
import gzip
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/'tools'))
from notdigits import draw_lines, draw_many, enlarge, fit, half, joined, redraw
from PIL import Image, ImageDraw

from digit_recognizer.analysis.robustness import ood_images
from digit_recognizer.core.predict import predict
from digit_recognizer.core.testing import project_file
from digit_recognizer.data import load_embedded
from digit_recognizer.evaluate import Score
from digit_recognizer.images.normalise import rejection_reason
from digit_recognizer.images.read import SURE_CONFIDENCE
from digit_recognizer.images.rejector import load_rejector
from digit_recognizer.runs.export import small_model
from digit_recognizer.runs.folder import pretrained_run
from results import begun, command, result_file, write_result

FASHION = Path('/usr/share/datasets/fashion-mnist')


def loops(rng):
    "A scribble: a pen that circles and wanders, as a sum of turning arms."
    t, n = np.linspace(0, 1, 300), rng.integers(2, 5)
    speed, reach, phase = rng.uniform(1, 9, n)*rng.choice([-1, 1], n), rng.uniform(.2, 1, n), rng.uniform(0, 6.3, n)
    z = sum(r*np.exp(1j*(6.3*s*t+p)) for s, r, p in zip(speed, reach, phase))+rng.normal(0, 2)*t
    points = np.stack([z.real, z.imag], 1)
    points = .12+.76*(points-points.min(0))/max(np.ptp(points, 0).max(), 1e-6)
    return draw_lines([points], rng.uniform(.8, 3.5))


def form_crop(rng):
    "What a window of a digit's size sees of a ruled form: combs, boxes and table cells, without anything written."
    page = Image.new('L', (900, 600))
    pen, high, wide, line = ImageDraw.Draw(page), rng.integers(40, 90), rng.integers(30, 90), int(rng.integers(1, 7))
    gap_x, gap_y = (int(rng.integers(0, 2)*rng.integers(4, 20)) for _ in range(2))
    for x in range(20, 860, wide+gap_x):
        for y in range(20, 560, high+gap_y): pen.rectangle([x, y, x+wide, y+high], outline=255, width=line)
    page = page.rotate(rng.uniform(-4, 4), Image.Resampling.BILINEAR)
    size = int(rng.uniform(.4, 1.1)*high)
    x, y = int(rng.integers(100, 700)), int(rng.integers(100, 400))
    return np.asarray(page.crop((x, y, x+size, y+int(size*rng.uniform(.7, 1.3)))), np.float32)/255


def upright_bars(n, rng):
    "Single upright strokes, which are 1s to any reader."
    rows = []
    for _ in range(n):
        x, slant = .5, rng.uniform(-.12, .12)
        rows.append(fit(draw_lines([[(x-slant, .15), (x+slant, .85)]], rng.uniform(.8, 4))))
    return np.stack(rows)


def fashion(folder, n):
    "The first test images of Fashion-MNIST; None where it is not installed."
    found = sorted(folder.rglob('t10k-images*')) if folder.is_dir() else []
    if not found: return None
    data = (gzip.decompress(found[0].read_bytes()) if found[0].suffix=='.gz' else found[0].read_bytes())[16:]
    return np.frombuffer(data, np.uint8).reshape(-1, 28, 28)[:n]


def kinds(x, y, n, rng, folder):
    "Images by (kind, is it one digit?): never trained on, neither their fonts nor their digits nor their ways of drawing."
    with np.load(project_file('nbs/results/rejector/fonts.npz')) as z: fonts = {k: z[k] for k in z.files}
    for name in ('letters, handwriting', 'letters, print', 'symbols, handwriting', 'symbols, print',
                 'look-alikes, handwriting', 'look-alikes, print'): yield name, False, fonts[name][:6*n]
    for name in ('digits, handwriting', 'digits, print'): yield name, True, fonts[name][:6*n]
    yield 'scribbles', False, draw_many(lambda: loops(rng), n)
    yield 'box edges', False, draw_many(lambda: form_crop(rng), n)
    yield 'upright bars', False, upright_bars(n//4, rng)
    long = x[y!=1]
    yield 'half digits', False, draw_many(lambda: half(long[rng.integers(len(long))], rng), n)
    yield 'two joined digits', False, draw_many(lambda: joined(x, rng, 2, 2), n)
    yield 'three joined digits', False, draw_many(lambda: joined(x, rng, 3, 3), n)
    if (some := fashion(folder, 10*n)) is not None: yield 'Fashion-MNIST', False, some
    for name, some in ood_images().items(): yield f'{name} (report)', False, some
    yield 'held-out MNIST', True, x
    yield 'held-out MNIST, hairline', True, redraw(x[:2*n], rng, (.4, .7))
    yield 'held-out MNIST, thick', True, redraw(x[:2*n], rng, (3.5, 4.5))
    yield 'held-out MNIST, normalised', True, np.stack([fit(ink) for ink in enlarge(x[:2*n], 3)])


def row(name, digit, way, accepted):
    "A row of the result: accepted images of those that are not digits, refused ones of those that are."
    wrong = ~accepted if digit else accepted
    score = Score(len(wrong), len(wrong)-int(wrong.sum()))
    low, high = score.interval()
    return dict(kind=name, is_digit=digit, way=way, n=len(wrong), wrong=int(wrong.sum()), share=float(wrong.mean()), low=low, high=high)


def main(
    small: Annotated[bool, typer.Option('--small', help='Few images of each kind, to see that all works.')]=False,
    out: Annotated[Path, typer.Option(help='The result file.')]=None,
    fashion_mnist: Annotated[Path, typer.Option(help='Where Fashion-MNIST is; left out where it is not.')]=FASHION,
):
    out = result_file('rejector', out, small)
    result = begun(out, 'rejector', small, one_machine=False)
    digits, rng, n = load_embedded(), np.random.default_rng(2), 40 if small else 1000
    x, y = (a[:300 if small else None] for a in (digits.x_test, digits.y_test))
    model, rejector = small_model(pretrained_run()), load_rejector()
    rows = []
    for name, digit, images in kinds(x, y, n, rng, fashion_mnist):
        plain = np.array([not rejection_reason(img) if img.any() else False for img in images])
        sure = predict(model, images, check=False).max(1)>=SURE_CONFIDENCE
        known = rejector.scores(images)<rejector.threshold
        ways = {'measures': plain, 'measures and confidence': plain & sure, 'rejector': known, 'measures and rejector': plain & known,
                'all three': plain & sure & known}
        rows += [row(name, digit, way, accepted) for way, accepted in ways.items()]
        print(name, len(images), *(f"{r['way']}: {r['share']:.2%}" for r in rows[-5:]), sep='  ')
    result.update(results=rows, threshold=rejector.threshold, confidence=SURE_CONFIDENCE)
    write_result(out, result)


if __name__=='__main__': command(main)
