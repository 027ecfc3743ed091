"""Train the network that tells images of one digit from others, and write it to digit_recognizer/rejector:

    python tools/rejector.py --fonts /usr/share/fonts

Debian's packages of the fonts (apt-get install): fonts-NAME for each NAME in tools/notdigits.py, of which some are in
packages of other names: see PACKAGES. Those named @fontsource/NAME are npm's (npm install --prefix /usr/share/fonts
@fontsource/NAME …). Drawing takes some minutes, training at most 300 CPU-seconds.
"""
import json
import re
import resource
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from digit_recognizer.core.backend import describe_environment, start_tensorflow
from digit_recognizer.core.files import sha256
from digit_recognizer.core.network import pack
from digit_recognizer.data import load_embedded
from digit_recognizer.images.rejector import Rejector
from digit_recognizer.preprocess import split
from digit_recognizer.runs.network import fuse_batch_norms, operations
from notdigits import (DIGITS, FONTS, LETTERS, LOOKALIKES, OTHER_LETTERS, SYMBOLS, box_edge, crossed_out, draw_many, enlarge, fit, half,
                       hatching, joined, letters, change_pen, redraw, scribble, shadow, strokes, texture, warp, written)

FOLDER = Path(__file__).resolve().parent.parent/"digit_recognizer"/"rejector"
REFUSED = .0025  # share of the validation digits that the threshold refuses; .003 is to hold on other digits
SEED = 0
MAX_BYTES = 300_000  # of the network in a file
PACKAGES = {  # folder of fonts -> its packages, where this is not fonts-FOLDER
    "artemisia": ["gfs-artemisia"], "didot": ["gfs-didot"], "linux-libertine": ["linuxlibertine"],
    "sortsmill": ["goudybookletter"], "adf": ["adf-baskervald", "adf-gillius", "adf-universalis", "adf-verana"],
    "andika": ["sil-andika"], "averia-gwf": ["averia-sans-gwf", "averia-serif-gwf"],
    "crosextra": ["crosextra-caladea", "crosextra-carlito"], "dejavu": ["dejavu-core"], "fifthhorseman": ["dkg-handwriting"],
    "gentium-basic": ["sil-gentium-basic"], "malayalam": ["smc-karumbi"], "tlwg": ["tlwg-purisa-ttf"], "noto": ["noto-mono"], "roboto": ["roboto-unhinted"], "freefont": ["freefont-ttf"],
    "levien": ["levien-typoscript"], "yozvox-yozfont": ["yozvox-yozfont-standard-kana"]}
WEIGHT = .25  # of an image that is not one digit, in the loss; it makes few digits refused
WEIGHT_OF_NAMES = .3  # of the second answer in the loss: which character or kind an image is; it is not kept
CLEAN = .05  # after an epoch, others that have less than this probability of the eleventh class are left out
EPOCHS, BATCH, RATE, FILTERS = 4, 128, 2e-3, (16, 32, 64, 64, 64)


def resized(images, rng):
    "Digits of other sizes, pens and slants, fitted anew."
    canvases = np.pad(enlarge(images), ((0, 0), (4, 4), (4, 4)))
    return np.stack([fit(warp(change_pen(ink, rng, 1.3), rng, .7)) for ink in canvases])


def digit_images(x, y, fonts, rng, by):
    "Images of one digit and their labels: MNIST's, the same drawn anew, and those of fonts."
    pen, size = rng.integers(len(x), size=10_000//by), rng.integers(len(x), size=6_000//by)
    parts = [(x, y), (redraw(x[pen], rng), y[pen]), (resized(x[size], rng), y[size])]
    for style, times in (("handwriting", 8), ("print", 2)):
        parts.append(letters(fonts, "training", style, DIGITS, rng, times))
    parts += [written(fonts, "handwriting", DIGITS, rng, 5), written(fonts, "print", DIGITS, rng, 4, 6)]
    parts = [(images, names.astype(int)) for images, names in parts]
    return tuple(map(np.concatenate, zip(*parts)))


def other_images(x, y, fonts, rng, by):
    "Images that are not one digit and their names, by kind: characters, or the kind."
    kinds = {f"{name}, {style}": letters(fonts, "training", style, chars, rng, times, step)
             for style, more, step in (("handwriting", 8, 2), ("print", 1, 5))
             for name, chars, times, step in (("letters", LETTERS, more, 1), ("symbols", SYMBOLS, 1, step),
                                              ("other letters", OTHER_LETTERS, 1, step))}
    kinds["written letters, handwriting"] = written(fonts, "handwriting", LETTERS, rng, 4, strength=1.3)
    kinds["written letters, print"] = written(fonts, "print", LETTERS, rng, 2, 6, strength=1.3)
    kinds = {kind: (some, names if "other" not in kind and "symbols" not in kind else np.full(len(some), kind.split(",")[0]))
             for kind, (some, names) in kinds.items()}
    long = x[y!=1]
    def some(): return long[rng.integers(len(long))]
    drawn = {"scribbles": (6_000, lambda: scribble(rng)), "hatching": (2_000, lambda: hatching(rng)),
             "strokes": (4_000, lambda: strokes(rng)), "box edges": (6_000, lambda: box_edge(rng)),
             "shadows": (3_000, lambda: shadow(rng)), "textures": (3_000, lambda: texture(rng)),
             "joined digits": (7_000, lambda: joined(x, rng)), "half digits": (1_500, lambda: half(some(), rng)),
             "crossed out": (3_000, lambda: crossed_out(x[rng.integers(len(x))], rng))}
    return kinds | {name: (draw_many(draw, n//by), np.full(n//by, name)) for name, (n, draw) in drawn.items()}


def network(seed, names, filters=FILTERS):
    "Five small convolutions, ten digits and an eleventh class; and the same with a second answer, for training: which of `names`."
    import keras
    from keras import layers
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((28, 28, 1))
    x = layers.Rescaling(1/255)(inputs)
    for n, (width, pool) in enumerate(zip(filters, (True, True, False, False, True))):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        if pool: x = layers.MaxPooling2D(2)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=.95)(x))
    x = layers.Dropout(.3)(layers.Flatten()(x))
    answer = layers.Dense(11, activation="softmax")(x)
    return (keras.Model(inputs, answer, name="rejector"),
            keras.Model(inputs, [answer, layers.Dense(names, activation="softmax")(x)]))


def train(x, y, names, seed, epochs=EPOCHS):
    "Train, after the first epoch without others that look like digits; returns the model and CPU-seconds."
    import keras
    codes = np.unique(names, return_inverse=True)[1]
    model, both = network(seed, codes.max()+1)
    steps = epochs*(len(x)//BATCH+1)
    rate = keras.optimizers.schedules.CosineDecay(RATE/10, steps-steps//10, warmup_target=RATE, warmup_steps=steps//10)
    both.compile(keras.optimizers.AdamW(rate, weight_decay=.004), ["sparse_categorical_crossentropy"]*2, loss_weights=[1., WEIGHT_OF_NAMES])

    def learn(rows, epochs):
        weights = np.where(y[rows]==10, WEIGHT, 1.).astype(np.float32)
        both.fit(x[rows][..., None], [y[rows], codes[rows]], batch_size=BATCH, epochs=epochs, verbose=2, sample_weight=[weights, weights])

    before = resource.getrusage(resource.RUSAGE_SELF)
    learn(np.arange(len(x)), 1)
    rows = np.flatnonzero(y==10)
    alike = rows[model.predict(x[rows][..., None], 500, verbose=0)[:, 10]<CLEAN]
    print(f"{len(alike):,} of {len(rows):,} others are left out from here on")
    learn(np.setdiff1d(np.arange(len(x)), alike), epochs-1)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return model, after.ru_utime+after.ru_stime-before.ru_utime-before.ru_stime


def validation_threshold(scores, share=REFUSED):
    "The least threshold that refuses at most a share of digits with these scores."
    ranked = np.sort(np.asarray(scores, np.float32))
    return float(np.nextafter(ranked[len(ranked)-1-int(share*len(ranked))], np.float32(2)))


def licences(fonts):
    "Each font package that was drawn from, and the licences that its copyright file names."
    names = {name for part in FONTS.values() for names in part.values() for name in names}
    hosted, folders = {n for n in names if n[0]=="@"}, {n.split("/")[0] for n in names if n[0]!="@"}
    found = {n: [json.loads((Path(fonts)/"node_modules"/n/"package.json").read_text(encoding="utf-8"))["license"]] for n in sorted(hosted)}
    for name in sorted(name for folder in folders for name in PACKAGES.get(folder, [folder.removeprefix("fonts-")])):
        package = f"fonts-{name}"
        text = Path(fonts).parent/"doc"/package/"copyright"
        if not text.is_file(): sys.exit(f"{text}: missing; apt-get install {package}")
        names = re.findall(r"^License: *(\S.*)$", text.read_text(encoding="utf-8", errors="replace"), re.M)
        found[package] = sorted(set(names)) or ["see its copyright file"]
    return found


def write_rejector(model, x, record, folder):
    "Write the network with weights of 16 bits, and its record, with a threshold for validation digits `x`."
    net = fuse_batch_norms(operations(model))
    net = [{k: v.astype(np.float16).astype(np.float32) if isinstance(v, np.ndarray) else v for k, v in o.items()} for o in net]
    text = json.dumps(pack(net, 0))+"\n"
    if len(text)>MAX_BYTES: sys.exit(f"{len(text):,} bytes, expected at most {MAX_BYTES:,}; train a smaller network")
    scores = Rejector(net, .5).scores(x)
    threshold = validation_threshold(scores)
    record = {"threshold": threshold,
              "threshold_set": f"refuses at most {REFUSED:.2%} of {len(x):,} validation digits", **record,
              "validation": {"n": len(x), "refused": int((scores>=threshold).sum())}}
    folder.mkdir(exist_ok=True)
    (folder/"network.json").write_text(text, encoding="ascii")
    record["sha256"] = sha256(folder/"network.json")
    (folder/"record.json").write_text(json.dumps(record, indent=1, ensure_ascii=False)+"\n", encoding="utf-8")


def main(
    fonts: Annotated[Path, typer.Option(help="The folder of fonts.")]=Path("/usr/share/fonts"),
    seed: Annotated[int, typer.Option(help="Of drawings, weights and order.")]=SEED,
    by: Annotated[int, typer.Option(help="Draw this times fewer pictures, to try.")]=1,
    out: Annotated[Path, typer.Option(help="The folder to write.")]=FOLDER,
):
    start_tensorflow()
    digits, rng = load_embedded(), np.random.default_rng(seed)
    rows, held_out = split(digits.y, .2, 0)
    x, y = digits.x[rows], digits.y[rows]
    found, labels = digit_images(x, y, fonts, rng, by)
    kinds = other_images(x, y, fonts, rng, by)
    images = np.concatenate([found, *(some for some, _ in kinds.values())])
    names = np.concatenate([labels.astype(str), *(some for _, some in kinds.values())])
    labels = np.concatenate([labels, np.full(len(images)-len(found), 10)])
    order = rng.permutation(len(images))
    print({"one digit": len(found), **{name: len(some) for name, (some, _) in kinds.items()}})
    model, cpu = train(images[order], labels[order], names[order], seed)
    write_rejector(model, digits.x[held_out], dict(
        seed=seed, epochs=EPOCHS, batch=BATCH, learning_rate=RATE, weight_of_others=WEIGHT, weight_of_names=WEIGHT_OF_NAMES, left_out_below=CLEAN, filters=FILTERS,
        parameters=model.count_params(), cpu_seconds=round(cpu), digits=digits.fingerprint,
        images={"one digit": len(found), **{name: len(some) for name, (some, _) in kinds.items()}},
        lookalikes=LOOKALIKES, fonts=FONTS, licences=licences(fonts), environment=describe_environment()), out)
    print((out/"record.json").read_text(encoding="utf-8")[:300])


if __name__=="__main__": typer.run(main)
