"""What each step from the former default recipe to `fast` gains: the ablation ladder, over seeds.

    python benchmarks/ladder.py            # half an hour; interrupted, it resumes
    python benchmarks/ladder.py --small    # a minute: every rung for an epoch on few digits

Each rung keeps all steps of the rungs below. All rungs with one seed share the split, so their answers are compared
digit by digit. Every training runs in a process of its own; the clock is that of the race in `time_to_accuracy.py`.
"""
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from digit_recognizer.core.recipe import RECIPES, make_recipe
from digit_recognizer.data import load_digits
from results import begun, command, result_file, write_result

SEEDS = 5
START = {'batch': 256, 'muon_lr': 0., 'rotation': 10, 'shift': .1, 'zoom': .1, 'shear': 0.,
         'unaugmented': 0., 'precision': 'float32'}
RUNGS = { # in the order in which they were added: what is said of it, and the fields that it changes
    'the former `fast`': {},
    'batch normalisation in one operation': {},
    'bfloat16': {'precision': 'auto'},
    'augmentation: less shift, more rotation and zoom, shear': {'rotation': 12, 'shift': .05, 'zoom': .15, 'shear': .2},
    'the last 30 % of the steps without augmentation': {'unaugmented': .3},
    'Muon, batches of 512: `fast`': {'muon_lr': .045, 'batch': 512}}


def changes(rung):
    "The recipe's fields on a rung, counted from 0."
    return {**START, **{field: value for step in list(RUNGS.values())[:rung+1] for field, value in step.items()}}


def train_one(rung, seed, small):
    "Train on one rung in this process; print what came of it as JSON."
    from sklearn.model_selection import train_test_split
    from digit_recognizer import train
    digits = load_digits()
    x, x_val, y, y_val = train_test_split(digits.x, digits.y, test_size=.2, random_state=seed, stratify=digits.y)
    if small: x, y, x_val, y_val = x[:2000], y[:2000], x_val[:500], y_val[:500]
    recipe = make_recipe('fast', {**changes(rung), 'seed': seed, **({'epochs': 1} if small else {})})
    if rung==0: train.for_training = lambda model, policy: model
    fitted = train.fit(recipe, x, y, x_val, y_val, progress=False)
    from digit_recognizer.core.predict import predict
    from digit_recognizer.model import with_tta
    wrong = {views: (predict(with_tta(fitted.model, views), x_val, check=False).argmax(1)!=y_val).nonzero()[0].tolist()
             for views in (1, 9)}
    sums = fitted.curve[['seconds', 'cpu_seconds']].cumsum().round(2)
    epochs = [{'epoch': i+1, 'errors': round((1-accuracy)*len(y_val)), **row}
              for i, (accuracy, row) in enumerate(zip(fitted.curve.val_accuracy, sums.to_dict('records')))]
    print(json.dumps({'rung': list(RUNGS)[rung], 'seed': seed, 'n': len(y_val), 'recipe': asdict(recipe),
                      'wrong': wrong[1], 'wrong with 9 views': wrong[9], 'epochs': epochs}))


def main(
    small: Annotated[bool, typer.Option('--small', help='One epoch on 2,000 digits, to see that all works.')]=False,
    out: Annotated[Path, typer.Option(help='The result file; what it already holds is not trained again.')]=None,
    one: Annotated[str, typer.Option(hidden=True)]='',
):
    if one: return train_one(*map(int, one.split(':')), small)
    top = make_recipe('fast', changes(len(RUNGS)-1))
    assert top==RECIPES['fast'], f'the top rung is not the recipe fast: {top}'
    out = result_file('ladder', out, small)
    result = begun(out, 'ladder', small)
    done = {(run['rung'], run['seed']) for run in result['results']}
    for seed in range(1 if small else SEEDS):
        for i, rung in enumerate(RUNGS):
            if (rung, seed) in done: continue
            told = subprocess.run([sys.executable, __file__, '--one', f'{i}:{seed}'] + ['--small']*small,
                                  stdout=subprocess.PIPE, text=True, check=True)
            result['results'].append(json.loads(told.stdout.splitlines()[-1]))
            write_result(out, result)
            run = result['results'][-1]
            print(rung, seed, len(run['wrong']), run['epochs'][-1], flush=True)


if __name__=='__main__': command(main)
