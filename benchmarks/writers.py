"""What new writers cost: `fast` on digits whose writers it has seen, and on the same digits as those of new writers.

    python benchmarks/writers.py --writers writers.npz            # twenty trainings; interrupted, it resumes
    python benchmarks/writers.py --writers writers.npz --small    # a minute: an epoch on few digits

The writer of every MNIST digit is known from QMNIST (Yadav and Bottou 2019). The file has `writer_train` (60000,),
`writer_test` (10000,), `series_train` and `series_test` (0, 1: census staff, 4: students), in MNIST's order. It is not
part of this repository. Five folds of all 42,000 labelled digits are drawn by digit, so that a writer is on both sides,
and by writer. So each digit is read out of fold both ways, and the two are paired. All is done twice, with other folds
and other random numbers, and a digit's error rate is the mean of both rounds.
"""
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from sklearn.model_selection import StratifiedKFold

from digit_recognizer import fit, load_digits, make_recipe, predict
from digit_recognizer.core.backend import silence_tensorflow
from digit_recognizer.core.files import InputError, atomic_write
from digit_recognizer.core.groups import bootstrap_means, group_folds, to_groups
from digit_recognizer.core.mnist import KAGGLE_LABELLED, permute_mnist
from digit_recognizer.data import take_digits
from results import begun, command, result_file, write_result

FOLDS, ROUNDS = 5, 2
SERIES = {0: 'census staff', 1: 'census staff', 4: 'students'}


def read_writers(path):
    "Writer and series of each labelled digit of the embedded deal."
    try:
        with np.load(path) as file: found = {a: np.concatenate([file[f'{a}_train'], file[f'{a}_test']]) for a in ('writer', 'series')}
    except (OSError, KeyError, ValueError) as e:
        raise InputError(f"{path}: {e}; expected QMNIST's writers as an .npz file with writer_train, writer_test, "
                         "series_train and series_test") from None
    if {len(a) for a in found.values()}!={70_000}: raise InputError(f"{path}: expected one writer and series for each of 70,000 digits")
    rows = permute_mnist()[:KAGGLE_LABELLED]
    return found['writer'][rows], found['series'][rows]


def read_out_of_fold(digits, rounds, recipe, work, name):
    "How often each digit is misread by networks that did not train on its fold, (rounds, n). Finished folds are kept in `work`."
    wrong = np.zeros((len(rounds), len(digits.y)), bool)
    for r, folds in enumerate(rounds):
        for number, (train, held) in enumerate(folds, r*FOLDS):
            place = work/f'{name}-{number}.npy'
            if not place.exists():
                fitted = fit(replace(recipe, seed=number), digits.x[train], digits.y[train], None, None)
                with silence_tensorflow(): missed = predict(fitted.model, digits.x[held]).argmax(1)!=digits.y[held]
                with atomic_write(place) as part, open(part, 'wb') as file: np.save(file, missed)
            wrong[r, held] = np.load(place)
    return wrong


def by_writer(values, writer):
    "95% interval of a mean over digits, by the cluster bootstrap."
    return np.quantile(bootstrap_means(values, writer), [.025, .975]).tolist()


def main(
    writers: Annotated[Path, typer.Option(help="QMNIST's writers, as described above.")],
    small: Annotated[bool, typer.Option('--small', help='One epoch on 3,000 digits, to see that all works.')]=False,
    out: Annotated[Path, typer.Option(help='The result file; the finished folds beside it are not trained again.')]=None,
):
    writer, series = read_writers(writers)
    out = result_file('writers', out, small)
    work, result = out.with_suffix('.work'), begun(out, 'writers', small)
    work.mkdir(parents=True, exist_ok=True)
    digits = take_digits(load_digits(), 3000) if small else load_digits()
    writer, series = writer[:len(digits.y)], series[:len(digits.y)]
    recipe = make_recipe('fast', {'epochs': 1, 'batch': 64} if small else {})
    groups = to_groups(writer, len(writer), kind='writer')
    count = 1 if small else ROUNDS
    rounds = {'by digit': [list(StratifiedKFold(FOLDS, shuffle=True, random_state=r).split(digits.x, digits.y)) for r in range(count)],
              'by writer': [group_folds(digits.y, groups, FOLDS, r) for r in range(count)]}
    wrong = {name: read_out_of_fold(digits, found, recipe, work, name) for name, found in rounds.items()}
    seen, new = (w.mean(0) for w in wrong.values())
    per_writer = np.sort(np.bincount(groups.code, new))[::-1]
    result['recipe'] = recipe.record()
    result['results'] = [{'folds': name, 'n': len(writer), 'errors': w.sum(1).tolist(), 'error_rate': float(w.mean()),
                          'interval_by_writer': by_writer(w.mean(0), writer)} for name, w in wrong.items()]
    result['difference'] = {'error_rate': float((new-seen).mean()), 'interval_by_writer': by_writer(new-seen, writer)}
    result['writers'] = {'n': len(per_writer), 'with_half_of_the_errors': int(np.searchsorted(per_writer.cumsum(), per_writer.sum()/2))+1}
    names = np.array([SERIES.get(int(s), 'others') for s in series])
    result['series'] = [{'writers': str(name), 'n': int((names==name).sum()), 'error_rate': float(new[names==name].mean()),
                         'interval_by_writer': by_writer(new[names==name], writer[names==name])} for name in np.unique(names)]
    write_result(out, result)
    print(*result['results'], result['difference'], result['writers'], *result['series'], sep='\n')


if __name__=='__main__': command(main)
