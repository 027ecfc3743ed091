"""Train the judge of segments and fit the weights of their scores, for digit_recognizer/images/touching.npz:

    python tools/touching.py            # about twenty CPU-minutes
    python tools/touching.py --by 50    # to try, with --out

The judge learns from segments of joined training digits: a segment is right if it holds nearly all ink of one digit and little
else. The weights are fitted on joined validation digits, so that the rows of segments that spell their numbers are likely
(LeCun et al. 1998, "Gradient-based learning applied to document recognition", section VI). Held-out digits take no part.
"""
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from digit_recognizer.core.backend import start_tensorflow
from digit_recognizer.core.predict import predict
from digit_recognizer.data import load_embedded
from digit_recognizer.images.normalise import resize
from digit_recognizer.images.touching import (INK_LEVEL, MOST_DIGITS, ROWS, cut_segments, find_seams, join_digits,
                                              place_digits, scale_ink, segment_features)
from digit_recognizer.preprocess import split
from digit_recognizer.runs.export import small_model
from digit_recognizer.runs.folder import pretrained_run

OUT = Path(__file__).resolve().parent.parent/"digit_recognizer"/"images"/"touching.npz"
MIX = [(1, 0, 2), (2, 0, 2), (3, 0, 2), (4, 0, 2), (2, 0, 2), (3, 0, 2), (4, 1, 2), (2, 1, 2), (3, 1, 2), (1, 0, 2),
       (4, 0, 7), (2, 0, 7), (3, 0, 7)]  # digits of a piece; how far pressed; how far moved up or down
PIECES, FITTED = 4000, 900  # pieces for the judge; for the weights
RIGHT, WRONG = (.87, .88), (.75, .78)  # share of a digit's ink in a segment, and of its own in it: at least; below
HIDDEN, ROUNDS, RATE, DECAY, BATCH = 16, 12, .03, 1e-4, 50  # of the weights


def enlarge(ink, zoom):
    "Ink, larger."
    return np.asarray(Image.fromarray(ink).resize((zoom*ink.shape[1], zoom*ink.shape[0]), Image.Resampling.BICUBIC))


def piece(imgs, seed, press, jitter):
    "Enlarged ink of joined digits and the ink of each; None where they cannot be joined."
    rng = np.random.default_rng(seed)
    zoom = int(rng.integers(2, 5))
    ink = join_digits(imgs, np.random.default_rng(seed), press, jitter)
    return None if ink is None else (enlarge(ink, zoom), zoom)


def layers(imgs, seed, press, jitter):
    "The ink of each digit alone where `place_digits` put it, uint8 (n, h, w)."
    pages = place_digits(imgs, np.random.default_rng(seed), press, jitter)
    before = np.pad(pages[:-1], ((1, 0), (0, 0), (0, 0)))
    return np.where(pages>before, pages, 0)


def pieces(x, y, rows, n, seed):
    "Joined digits: images, labels, seed of their places, press, jitter, enlarged ink and how far it is enlarged."
    rng, made = np.random.default_rng(seed), []
    while len(made)<n:
        (count, press, jitter), at, own = MIX[len(made)%len(MIX)], rng.choice(rows, 4), int(rng.integers(2**32))
        found = piece(x[at[:count]], own, press, jitter)
        if found: made.append((x[at[:count]], y[at[:count]], own, press, jitter, *found))
    return made


def labelled(made, rng):
    "Segments of a piece that are right (1) or wrong (0), at most 25 right ones and twice as many wrong ones."
    imgs, _, seed, press, jitter, ink, zoom = made
    a = scale_ink(ink)
    rows, cols = (np.flatnonzero((ink>=INK_LEVEL).any(axis)) for axis in (1, 0))
    alone = [enlarge(layer, zoom)[rows[0]:rows[-1]+1, cols[0]:cols[-1]+1] for layer in layers(imgs, seed, press, jitter)]
    alone = np.minimum([resize(layer, a.shape, "BOX" if len(layer)>=ROWS else "BILINEAR")/255 for layer in alone], a)
    seams, costs = find_seams(a)
    segments = cut_segments(a, seams, costs)
    left = np.pad(np.cumsum([*alone, a], 2), ((0, 0), (0, 0), (1, 0)))[:, np.arange(ROWS), seams].sum(2)
    inside = left[:, segments.ends[:, 1]]-left[:, segments.ends[:, 0]]
    whole, own = inside[:-1]/alone.sum((1, 2))[:, None], inside[:-1]/np.maximum(inside[-1], 1e-6)
    best, at = (whole*own).argmax(0), np.arange(len(segments.ends))
    whole, own = whole[best, at], own[best, at]
    right = rng.permutation(np.flatnonzero((whole>=RIGHT[0]) & (own>=RIGHT[1])))[:25]
    wrong = rng.permutation(np.flatnonzero((whole<WRONG[0]) | (own<WRONG[1])))[:max(25, 2*len(right))]
    return segments.imgs[np.r_[right, wrong]], np.r_[np.ones(len(right)), np.zeros(len(wrong))]


def train_judge(x, y, seed, epochs=6):
    "Three small convolutions; one logit. Returns its arrays by name."
    import keras
    from keras import layers as k
    keras.utils.set_random_seed(seed)
    conv = [layer for width in (12, 24, 32) for layer in (k.Conv2D(width, 3, padding="same", activation="relu"), k.MaxPooling2D())][:-1]
    model = keras.Sequential([keras.Input((28, 28, 1)), k.Rescaling(1/255), *conv, k.Flatten(), k.Dropout(.3),
                              k.Dense(48, activation="relu"), k.Dense(1)])
    rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs*(len(x)//128+1))
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-4), keras.losses.BinaryCrossentropy(from_logits=True))
    model.fit(x[..., None], y, 128, epochs, verbose=2)
    arrays = model.get_weights()
    judge = {f"{name}{i//2}": a.astype(np.float16) for i, a in enumerate(arrays) for name in [("kernel", "bias")[i%2]]}
    return judge, model


def log_sum(a, axis): return np.logaddexp.reduce(a, axis)


def chain(n, ends, steps):
    "Weights of rows from the left edge, and to the right edge: (segments+1, n) each, logarithms."
    square = np.full((len(steps), n, n), -np.inf)
    square[:, ends[:, 0], ends[:, 1]] = steps
    left, right = [np.where(np.arange(n), -np.inf, 0.)], [np.where(np.arange(n)<n-1, -np.inf, 0.)]
    for a in square: left.append(log_sum(left[-1][:, None]+a, 0))
    for a in square[::-1]: right.append(log_sum(a+right[-1], 1))
    return np.array(left), np.array(right)


def surprise(ends, scores, digits):
    "Minus the logarithm of the probability of a number, and its gradient for each score; None where no row spells it."
    n, (i, j), count, each = int(ends.max())+1, ends.T, len(digits), np.arange(len(ends))
    edge = log_sum(scores, 1)
    left, right = chain(n, ends, np.array([edge]*MOST_DIGITS))
    to_end, total = np.logaddexp.accumulate(right, 0), log_sum(left[1:, -1], 0)
    mine_left, mine_right = chain(n, ends, scores[:, digits].T)
    mine = mine_left[count, -1]
    if not np.isfinite(mine): return 0., None
    used = sum(np.exp(left[k][i]+edge+to_end[MOST_DIGITS-1-k][j]-total) for k in range(MOST_DIGITS))
    gradient = used[:, None]*np.exp(scores-edge[:, None])
    for k, digit in enumerate(digits):
        gradient[each, digit] -= np.exp(mine_left[k][i]+scores[:, digit]+mine_right[count-1-k][j]-mine)
    return total-mine, gradient


def fit_weights(cases, seed):
    "Fit the weights of `score_segments` by Adam on (ends, features, probabilities, digits)."
    rng, features = np.random.default_rng(seed), np.concatenate([case[1] for case in cases])
    mean, sd = features.mean(0), features.std(0)+1e-6
    w = {"hidden": rng.normal(0, 1/np.sqrt(len(mean)), (len(mean), HIDDEN)), "hidden_bias": np.zeros(HIDDEN),
         "out": np.zeros(HIDDEN), "direct": np.zeros(len(mean)), "reader": np.ones(1), "plus": np.zeros(1)}
    moments, steps, t = {k: (np.zeros_like(v), np.zeros_like(v)) for k, v in w.items()}, ROUNDS*(len(cases)//BATCH), 0
    for _ in range(ROUNDS):
        order, total = rng.permutation(len(cases)), 0.
        for start in range(0, len(order)-BATCH+1, BATCH):
            g = {k: DECAY*BATCH*v for k, v in w.items()}
            for q in order[start:start+BATCH]:
                ends, raw, proba, digits = cases[q]
                x, reader = (raw-mean)/sd, np.log(proba+1e-5)
                h = np.tanh(x@w["hidden"]+w["hidden_bias"])
                loss, d = surprise(ends, w["reader"]*reader+(x@w["direct"]+h@w["out"]+w["plus"])[:, None], digits)
                if d is None: continue
                s, total = d.sum(1), total+loss
                inner = s[:, None]*w["out"]*(1-h*h)
                for k, v in (("reader", (d*reader).sum()), ("direct", x.T@s), ("plus", s.sum()), ("out", h.T@s),
                             ("hidden", x.T@inner), ("hidden_bias", inner.sum(0))): g[k] = g[k]+v
            t += 1
            for k, (m, v) in moments.items():
                step = g[k]/BATCH
                m[:], v[:] = .9*m+.1*step, .99*v+.01*step**2
                w[k] = w[k]-RATE*max(.02, 1-t/steps)*(m/(1-.9**t))/(np.sqrt(v/(1-.99**t))+1e-8)
        print(f"surprise {total/len(order):.3f}", flush=True)
    return {k: v.astype(np.float32) for k, v in (w|{"mean": mean, "sd": sd}).items()}


def main(
    out: Annotated[Path, typer.Option(help="The file to write.")] = OUT,
    by: Annotated[int, typer.Option(help="Use this times fewer pieces, to try.")] = 1,
    seed: Annotated[int, typer.Option(help="Of pieces, weights and order.")] = 0,
):
    start_tensorflow()
    digits, rng, reader = load_embedded(), np.random.default_rng(seed), small_model(pretrained_run())
    train, validation = split(digits.y)
    found = [labelled(made, rng) for made in pieces(digits.x, digits.y, train, PIECES//by, seed)]
    x, y = (np.concatenate(parts) for parts in zip(*found))
    order = rng.permutation(len(x))
    judge, model = train_judge(x[order], y[order], seed)
    cases = []
    for _, truth, *_, ink, _ in pieces(digits.x, digits.y, validation, FITTED//by, seed+1):
        a = scale_ink(ink)
        segments = cut_segments(a, *find_seams(a))
        proba = predict(reader, segments.imgs, 64, check=False)
        judged = np.clip(model.predict(segments.imgs[..., None], verbose=0)[:, 0], -8, 8)
        cases.append((segments.ends, segment_features(segments, proba, judged), proba, list(map(int, truth))))
    np.savez_compressed(out, **judge, **fit_weights(cases, seed))
    print(f"{out}: {len(x):,} segments for the judge, {len(cases):,} pieces for the weights")


if __name__=="__main__": typer.run(main)
