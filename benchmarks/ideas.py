"""Can the recipes be made more accurate with the same digits? Each idea against its recipe, out of fold.

    python benchmarks/ideas.py            # an hour and a half; interrupted, it resumes
    python benchmarks/ideas.py --small    # a minute: five ideas for an epoch, on two folds of few digits

What counts was written down before the first training. All 42,000 labelled digits are answered by networks that did not
learn from them: five folds, or ten where the idea is more digits to learn from. An idea is better where McNemar's test
says so after Holm's correction for all ideas on the same recipe. Ideas that cost five small trainings are tried on
`fast`; on `best` only those with fewer errors there, networks of another kind, and the ideas that need no training:
more views, and averages of two networks. An average is compared with the average of two networks of the same kind.

Two points differ from what was announced. An idea was tried on `best` only where it had fewer errors on `fast` than
other random numbers had. The network of another kind is a small one, because a large one takes an hour.

The doubted labels are those that `audit` names from other out-of-fold answers. The networks behind those answers learnt
from digits that are judged here, so that idea gets a little more than it should. Needs the extra `labels`.
"""
import json
from dataclasses import asdict, replace
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from digit_recognizer.analysis.compare import Comparison, paired_interval
from digit_recognizer.analysis.labels import find_label_issues
from digit_recognizer.core.backend import silence_tensorflow
from digit_recognizer.core.files import InputError, atomic_write
from digit_recognizer.core.recipe import FIELDS, make_recipe
from digit_recognizer.core.testing import project_file
from digit_recognizer.data import load_digits
from digit_recognizer.runs.ensemble import fold_count, fold_rows
from results import begun, command, environment, result_file, write_result

HERE = cache(environment)
SEED = 100 # of the networks that differ from the others by their random numbers alone
IDEAS = { # recipe -> idea -> fields that it changes; `warp` is in pixels, `doubted` leaves doubted labels out
    'fast': {
        'the recipe': {},
        'other random numbers': {'seed': SEED},
        'no label smoothing': {'label_smoothing': 0.},
        'label smoothing .1': {'label_smoothing': .1},
        'thin plates, half a pixel': {'warp': .5},
        'thin plates, a pixel': {'warp': 1.},
        'thin plates, two pixels': {'warp': 2.},
        'without doubted labels': {'doubted': True},
        'ten folds: an eighth more digits': {'val': .1}},
    'best': {
        'the recipe': {},
        'other random numbers': {'seed': SEED},
        'without doubted labels': {'doubted': True},
        'a small plain network': {'network': 'plain', 'width': 16, 'epochs': 10}}}
SMALL = 'the recipe', 'other random numbers', 'thin plates, a pixel', 'without doubted labels', 'a small plain network'
VIEWS = '1 view', '9 views', '15 views' # moved by a pixel; and turned, scaled and sheared both ways
TURNS = (7.5, 1, 0), (-7.5, 1, 0), (0, .93, 0), (0, 1.07, 0), (0, 1, .1), (0, 1, -.1) # degrees, zoom, shear
PAIRS = ('best', 'other random numbers'), ('best', 'a small plain network'), ('fast', 'the recipe')


def doubted_rows(digits):
    "Rows whose labels confident learning doubts."
    with np.load(project_file('nbs/results/out-of-fold/validation.npz')) as z:
        return find_label_issues(digits.y[z['rows']], z['proba'], z['rows']).row.to_numpy()


def thin_plates(points=4):
    "How much each of points x points corners moves each pixel: (784, points**2)."
    from scipy.interpolate import RBFInterpolator
    corners, pixels = (np.stack(np.meshgrid(*[np.linspace(0, 27, n)]*2, indexing='ij'), -1).reshape(-1, 2)
                       for n in (points, 28))
    return RBFInterpolator(corners, np.eye(points**2), kernel='thin_plate_spline')(pixels).astype(np.float32)


def bend_digits(train_batches, size):
    "`train_batches` with digits that are bent besides: each corner of a grid moves by a normal distance, in pixels."
    import keras
    import tensorflow as tf
    weights = tf.constant(thin_plates())
    still = tf.cast(tf.stack(tf.meshgrid(tf.range(28), tf.range(28), indexing='ij')), tf.float32)

    def bend(xb, key):
        moves = size*tf.random.stateless_normal((len(xb), 2, weights.shape[1]), key)
        places = still + tf.reshape(moves @ tf.transpose(weights), (-1, 2, 28, 28))
        image = tf.broadcast_to(tf.range(len(xb), dtype=tf.float32)[:, None, None], (len(xb), 28, 28))
        bent = keras.ops.image.map_coordinates(xb[..., 0], tf.stack([image, places[:, 0], places[:, 1]]), order=1)
        return bent[..., None]

    def batches(x, y, batch, epochs, seed=0, start_epoch=0, unaugmented=0., **limits):
        data = train_batches(x, y, batch, epochs, seed, start_epoch, unaugmented, **limits)
        steps = len(x)//batch
        last = round(steps*epochs*(1-unaugmented))
        def change(number, pair):
            xb, yb = pair
            return tf.cond(number<last, lambda: bend(xb, tf.stack([2*seed+1, -1-number])), lambda: xb), yb
        return data.enumerate(start_epoch*steps).map(change, num_parallel_calls=4, deterministic=True).prefetch(4)
    return batches


def all_views(model, x):
    "Probabilities by each number of `VIEWS`."
    import tensorflow as tf
    from digit_recognizer.core.predict import predict
    from digit_recognizer.model import with_tta
    from digit_recognizer.preprocess import affine, warp
    one, nine = (predict(with_tta(model, n), x, check=False) for n in (1, 9))
    def turned(degrees, zoom, shear):
        transforms = affine(*[tf.fill((len(x),), float(v)) for v in (np.radians(degrees), 0, 0, zoom, zoom, shear)])
        images = np.rint(warp(x[..., None], transforms).numpy()[..., 0]).astype(np.uint8)
        return predict(model, images, check=False)
    return one, nine, (9*nine + sum(turned(*turn) for turn in TURNS))/15


def folds_of(name, idea):
    "The recipe that cuts the folds: the same ones for all ideas with as many."
    return make_recipe(name, {'val': IDEAS[name][idea].get('val', make_recipe(name).val)})


def recipe_of(name, idea, small):
    "The recipe with an idea's changes, except for those that no recipe has."
    changes = {field: value for field, value in IDEAS[name][idea].items() if field in FIELDS}
    return make_recipe(name, {**changes, **({'epochs': 1} if small else {})})


def made_by(name, idea, small):
    "What the answers of a fold depend on, as text."
    return json.dumps([asdict(recipe_of(name, idea, small)), IDEAS[name][idea], HERE()], sort_keys=True)


def train_fold(name, idea, fold, small, out):
    "Train without one fold; keep what the network says of that fold."
    from digit_recognizer import train
    digits, recipe = load_digits(), recipe_of(name, idea, small)
    warp, doubted = (IDEAS[name][idea].get(option, 0) for option in ('warp', 'doubted'))
    learnt, held = fold_rows(digits.y, folds_of(name, idea), fold)
    if doubted: learnt = np.setdiff1d(learnt, doubted_rows(digits))
    if small: learnt, held = learnt[:2000], held[np.arange(fold, 1000, 2)]
    batches = train.train_batches
    if warp: train.train_batches = bend_digits(batches, warp)
    fitted = train.fit(replace(recipe, seed=recipe.seed+fold, views=1), digits.x[learnt], digits.y[learnt],
                       digits.x[held], digits.y[held], progress=False)
    train.train_batches = batches
    with atomic_write(out) as part, part.open('wb') as f:
        np.savez(f, of=made_by(name, idea, small), rows=held, cost=fitted.curve.cpu_seconds.sum(), learnt=len(learnt),
                 proba=np.array(all_views(fitted.model, digits.x[held])))


def train_folds(name, idea, small, work):
    "Train without each fold in turn."
    for fold in range(2 if small else fold_count(folds_of(name, idea))):
        out = work/f'{slug(name, idea)}-{fold}.npz'
        if not out.exists(): train_fold(name, idea, fold, small, out)


def answers(work, name, idea, small):
    "All folds of an idea together: rows, probabilities (views, n, 10), what is known of the training."
    folds = [np.load(path) for path in sorted(work.glob(f'{slug(name, idea)}-*.npz'))]
    other = [f for f in folds if f['of']!=made_by(name, idea, small)]
    if other: raise InputError(f"{work}: {idea} was trained by another recipe or on another machine; remove its files")
    rows = np.concatenate([f['rows'] for f in folds])
    order = rows.argsort()
    facts = {'folds': len(folds), 'learnt': round(np.mean([f['learnt'] for f in folds])),
             'cpu_seconds': round(np.mean([f['cost'] for f in folds]), 1)}
    return rows[order], np.concatenate([f['proba'] for f in folds], axis=1)[:, order], facts


def slug(name, idea): return '-'.join([name, *idea.replace(',', '').replace(':', '').split()])


def compared(wrong_a, wrong_b, n):
    "A paired test of two lists of misread rows of the same n digits."
    c = Comparison('a', 'b', n, len(set(wrong_a)-set(wrong_b)), len(set(wrong_b)-set(wrong_a)),
                   len(set(wrong_a)&set(wrong_b)))
    return {'errors': len(wrong_b), 'only before': c.only_a, 'only now': c.only_b, 'p': c.p_value,
            'gain': [round(n*v, 1) for v in paired_interval(n, c.only_a, c.only_b, c.both)]}


def holm(p):
    "P-values for several claims at once, by Holm's correction."
    order = np.argsort(p, kind='stable')
    corrected = accumulate((min(1, (len(p)-i)*p[j]) for i, j in enumerate(order)), max)
    return [value for _, value in sorted(zip(order.tolist(), map(float, corrected)))]


def judged(found, y):
    "Every comparison that was announced: of ideas, of views, of averages."
    def wrong(rows, proba): return rows[proba.argmax(1)!=y[rows]].tolist()
    results = []
    for name in IDEAS:
        ideas = [idea for recipe, idea in found if recipe==name]
        view = VIEWS.index('9 views') if name=='best' else 0
        rows, base, _ = found[name, 'the recipe']
        assert all(np.array_equal(rows, found[name, idea][0]) for idea in ideas)
        told = [{'recipe': name, 'idea': idea, 'n': len(rows), **facts, 'views': VIEWS[view],
                 **compared(wrong(rows, base[view]), wrong(rows, proba[view]), len(rows))}
                for idea in ideas for rows, proba, facts in [found[name, idea]]]
        told += [{'recipe': name, 'idea': f'{VIEWS[i]} instead of {VIEWS[view]}', 'n': len(rows), 'views': VIEWS[i],
                  **compared(wrong(rows, base[view]), wrong(rows, base[i]), len(rows))}
                 for i in range(len(VIEWS)) if i!=view]
        for row, p in zip(told[1:], holm([row['p'] for row in told[1:]])): row['p by Holm'] = p
        results += told
    rows, best, _ = found['best', 'the recipe']
    def average(pair): return wrong(rows, (best[1] + found[pair][1][1])/2)
    told = [{'recipe': 'best', 'idea': 'averaged with '+': '.join(pair), 'n': len(rows), 'views': VIEWS[1],
             **compared(average(PAIRS[0]), average(pair), len(rows))} for pair in PAIRS]
    for row, p in zip(told[1:], holm([row['p'] for row in told[1:]])): row['p by Holm'] = p
    return results + told


def main(
    small: Annotated[bool, typer.Option('--small', help='One epoch on 2,000 digits, to see that all works.')]=False,
    out: Annotated[Path, typer.Option(help='The result file; what stands beside it is not trained again.')]=None,
    work: Annotated[Path, typer.Option(help="For the answers of each fold; by default beside the result file.")]=None,
):
    out = result_file('ideas', out, small)
    work = work or out.with_suffix('.work')
    result, found = begun(out, 'ideas', small), {}
    work.mkdir(parents=True, exist_ok=True)
    for name, ideas in IDEAS.items():
        for idea in [idea for idea in ideas if idea in SMALL or not small]:
            with silence_tensorflow(): train_folds(name, idea, small, work)
            found[name, idea] = answers(work, name, idea, small)
            print(name, idea, found[name, idea][2], flush=True)
    result['recipes'] = {name: asdict(make_recipe(name)) for name in IDEAS}
    result['results'] = judged(found, load_digits().y)
    write_result(out, result)


if __name__=='__main__': command(main)
