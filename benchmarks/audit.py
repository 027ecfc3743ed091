"""Which ranking of doubtful labels finds wrong ones? Chosen by planted flips, then measured against people's verdicts.

    python benchmarks/audit.py --verdicts label-verdicts.json            # ten trainings; interrupted, it resumes
    python benchmarks/audit.py --verdicts label-verdicts.json --small    # half a minute: `tiny` on few digits

Labels are flipped to the digit that five out-of-fold `best` networks find likeliest after the label's: .3 % of them, and
1 %, which holds the same .3 %. Half of the flipped digits are any digits, as a slip of the hand; half are drawn by how
much those networks doubt them, as a misreading. `fast` is trained on the flipped labels, in five folds. Each method
ranks all digits, and its average precision says how early the planted flips come.

The rule of choice was written down before the first ranking was made. The method with the largest mean of the average
precisions on both sets is chosen. Where one that needs nothing but a network's probabilities comes within .01 of it,
the best of those is chosen. Methods that a run's probabilities and images do not allow are only shown. These are neighbours by
what a network sees (its features), and two networks for each digit. The latter come from both sets, so they are judged
on the flips that the sets share, among the digits that neither flips.

Then all methods rank the true labels, by the out-of-fold answers of `best`, once. Verdicts are those of cleanlab's
label-errors (Northcutt et al. 2021): a list of objects with `test_row` (from 0, in MNIST's test set) and the votes
`given` (for MNIST's label), `guessed` and `neither`. A label is overturned if it has fewer votes than one of the others.
The file is not part of this repository. Needs the extra `labels`.
"""
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import NearestNeighbors

from digit_recognizer import fit, load_digits, make_recipe, predict
from digit_recognizer.analysis.digit_map import last_features
from digit_recognizer.analysis.labels import NEIGHBOURS, find_label_issues, label_margin, other_neighbours, vote_shares
from digit_recognizer.core.backend import silence_tensorflow
from digit_recognizer.core.files import InputError, atomic_write
from digit_recognizer.core.mnist import KAGGLE_LABELLED, permute_mnist
from digit_recognizer.core.testing import project_file
from digit_recognizer.data import take_digits
from digit_recognizer.evaluate import Score
from results import begun, command, result_file, write_result

RATES = .003, .01 # shares of the labels that are flipped; each set holds the flips of the smaller ones
FIRST = 30, 100   # candidates that a person looks at
ALONE = 'self-confidence', 'margin', 'confident learning' # need nothing but the probabilities of one network
FOLDS = 5         # of each set
MARGIN = .01      # of average precision that a method must win by to be worth more than probabilities


def out_of_fold(n):
    "Probabilities of the first `n` labelled digits by `best` networks that did not learn from them, in order of rows."
    with np.load(project_file('nbs/results/out-of-fold/validation.npz')) as file:
        proba = file['proba'][file['rows'].argsort()][:n].astype(np.float64)
    return proba/proba.sum(1, keepdims=True)


def read_verdicts(path):
    "Row and verdict of each judged digit among the labelled ones of the embedded deal: is the label overturned?"
    try:
        judged = {int(r['test_row']): max(r['guessed'], r['neither'])>r['given'] for r in json.loads(path.read_text(encoding='utf-8'))}
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path}: {e!r}; expected a list of objects with test_row, given, guessed and neither") from None
    if not all(0<=row<10_000 for row in judged): raise InputError(f"{path}: expected every test_row to be from 0 to 9,999")
    place = permute_mnist().argsort()[60_000:] # of MNIST's test set among the 70,000
    return {int(place[row]): bool(wrong) for row, wrong in judged.items() if place[row]<KAGGLE_LABELLED}


def plant(y, proba, n):
    """`n` rows in random order, and the labels they get: what `best` takes them for if not for what they are.
    Every other row is any digit, the rest are the likelier the more `best` doubts them."""
    rng, rows = np.random.default_rng(22), np.arange(len(y))
    doubt = np.where(proba.argmax(1)==y, 1-proba[rows, y], 0) # a label that `best` rejects may be wrong before
    anyone = rng.permutation(np.flatnonzero(proba.argmax(1)==y))[:n]
    doubted = np.setdiff1d(rng.choice(rows, 2*n, replace=False, p=doubt/doubt.sum()), anyone)
    chosen = np.stack([anyone[:(n+1)//2], rng.permutation(doubted)[:(n+1)//2]], 1).ravel()[:n]
    other = proba.copy()
    other[rows, y] = -1
    return chosen, other[chosen].argmax(1)


def train_set(digits, y, number, recipe, folds, work):
    "Train `fast` out of fold on the labels `y`; folds, probabilities and features of each digit, in order of rows."
    fold, proba, features = np.zeros(len(y), int), np.zeros((len(y), 10)), None
    cut = StratifiedKFold(folds, shuffle=True, random_state=number).split(digits.x, y)
    for i, (train, held) in enumerate(cut):
        place = work/f'{number}-{i}.npz'
        if not place.exists():
            fitted = fit(replace(recipe, seed=10*number+i), digits.x[train], y[train], None, None, progress=False)
            with silence_tensorflow(): said, seen = predict(fitted.model, digits.x[held]), last_features(fitted.model, digits.x[held])
            with atomic_write(place) as part, open(part, 'wb') as file: np.savez(file, proba=said, features=seen.astype(np.float32))
        with np.load(place) as file: said, seen = file['proba'], file['features']
        features = np.zeros((len(y), seen.shape[1]), np.float32) if features is None else features
        fold[held], proba[held], features[held] = i, said, seen
    return fold, proba, features


def feature_proba(y, fold, features):
    "Shares of each label among the nearest digits of the same fold, by what a network that learnt from none of them sees."
    proba = np.zeros((len(y), 10))
    for i in np.unique(fold):
        held = np.flatnonzero(fold==i)
        distances, near = NearestNeighbors(n_neighbors=NEIGHBOURS+1, algorithm='brute').fit(features[held]).kneighbors()
        proba[held] = vote_shares(y[held][near[:, :NEIGHBOURS]], distances[:, :NEIGHBOURS])
    return proba


def doubts(y, proba, pixels, near=None):
    "How doubtful each label is by each method, larger is more doubtful; `pixels` and `near` are votes of neighbours."
    margin, issues = -label_margin(y, proba), np.zeros(len(y))
    issues[find_label_issues(y, proba).row] = 4 # all of them before all others
    found = {'self-confidence': 1-proba[np.arange(len(y)), y], 'margin': margin, 'confident learning': issues+margin,
             'neighbours in pixels': -label_margin(y, pixels), 'margin and neighbours in pixels': margin-label_margin(y, pixels)}
    if near is None: return found
    return found | {'neighbours in features': -label_margin(y, near), 'margin and neighbours in features': margin-label_margin(y, near),
                    'margin and both neighbours': margin-label_margin(y, pixels)-label_margin(y, near)}


def ranked(doubt): return np.lexsort((np.arange(len(doubt)), -doubt))


def share(k, n):
    "A share with n and Wilson's interval; None of nothing."
    if not n: return {'found': 0, 'of': 0, 'interval': None}
    return {'found': int(k), 'of': int(n), 'interval': list(Score(int(n), int(n-k)).interval())}


def judge_flips(doubt, planted, among):
    "Average precision of the planted rows among those given, and the share of them among as many first."
    hit = np.isin(among, planted)
    order = ranked(doubt[among])
    return {'planted': len(planted), 'average_precision': float(average_precision_score(hit, doubt[among])),
            'first': share(hit[order][:len(planted)].sum(), len(planted))}


def judge_labels(doubt, verdicts):
    "Where the overturned labels stand in a ranking, and what people say of its first ones."
    place = ranked(doubt).argsort()+1
    overturned = [row for row, wrong in verdicts.items() if wrong]
    return {'places': sorted(place[overturned].tolist()),
            'recall': {str(k): share((place[overturned]<=k).sum(), len(overturned)) for k in FIRST},
            'upheld': {str(k): sum(bool(place[row]<=k) for row, wrong in verdicts.items() if not wrong) for k in FIRST}}


def choose(results):
    "The chosen method, by the rule above."
    mean = {m: np.mean([r['average_precision'] for r in results if r['method']==m and not r['shown_only']])
            for m in dict.fromkeys(r['method'] for r in results if not r['shown_only'])}
    best, alone = max(mean, key=mean.get), max(ALONE, key=mean.get)
    return alone if mean[alone]>=mean[best]-MARGIN else best


def planted_results(digits, small, work, pixels_of):
    "Every method on every set of planted flips."
    recipe = make_recipe('tiny', {'batch': 16}) if small else make_recipe('fast')
    n = [round(rate*len(digits.y)) for rate in RATES]
    rows, flips = plant(digits.y, out_of_fold(len(digits.y)), max(n))
    never, results, sets = np.setdiff1d(np.arange(len(digits.y)), rows), [], []
    for number, (rate, count) in enumerate(zip(RATES, n)):
        y = digits.y.copy()
        y[rows[:count]] = flips[:count]
        fold, proba, features = train_set(digits, y, number, recipe, 2 if small else FOLDS, work)
        sets.append((y, proba))
        for method, doubt in doubts(y, proba, pixels_of(y), feature_proba(y, fold, features)).items():
            results.append({'flipped': rate, 'method': method, 'shown_only': 'features' in method or 'both' in method,
                            **judge_flips(doubt, rows[:count], np.arange(len(y)))})
    y, among, (one, two) = sets[0][0], np.concatenate([rows[:n[0]], never]), (p for _, p in sets)
    pair = {'margin, one network': -label_margin(y, one), 'margin, the other network': -label_margin(y, two),
            'margin, both networks': -label_margin(y, (one+two)/2), 'disagreement of both networks': np.abs(one-two).sum(1)}
    return recipe, results + [{'flipped': RATES[0], 'method': method, 'shown_only': True, **judge_flips(doubt, rows[:n[0]], among)}
                              for method, doubt in pair.items()]


def main(
    verdicts: Annotated[Path, typer.Option(help="People's verdicts on MNIST's test labels, as described above.")],
    small: Annotated[bool, typer.Option('--small', help='`tiny` on 1,500 digits, to see that all works.')]=False,
    out: Annotated[Path, typer.Option(help='The result file; the finished folds beside it are not trained again.')]=None,
):
    judged = read_verdicts(verdicts)
    out = result_file('audit', out, small)
    work, result = out.with_suffix('.work'), begun(out, 'audit', small, one_machine=False)
    work.mkdir(parents=True, exist_ok=True)
    digits = take_digits(load_digits(), 1500) if small else load_digits()
    rows, distances = other_neighbours(digits.x, np.arange(len(digits.x)))
    def pixels_of(y): return vote_shares(y[rows], distances)
    recipe, result['results'] = planted_results(digits, small, work, pixels_of)
    result['recipe'], result['chosen'] = recipe.record(), choose(result['results'])
    write_result(out, result) # the choice stands before the verdicts are used
    judged = {row: wrong for row, wrong in judged.items() if row<len(digits.y)}
    result['judged'] = {'n': len(judged), 'overturned': sum(judged.values())}
    found = doubts(digits.y, out_of_fold(len(digits.y)), pixels_of(digits.y))
    result['verdicts'] = [{'method': method, **judge_labels(doubt, judged)} for method, doubt in found.items()]
    write_result(out, result)
    print(*result['results'], result['chosen'], *result['verdicts'], sep='\n')


if __name__=='__main__': command(main)
