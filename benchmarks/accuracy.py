"""How accurate the recipes are: over seeds, as ensembles, on Kaggle's split and on MNIST's own.

    python benchmarks/accuracy.py            # hours; interrupted, it resumes
    python benchmarks/accuracy.py --small    # a minute: a tiny recipe on few digits

Recipes were chosen by validation alone, on the embedded digits; six in ten of the 10,000 test digits of MNIST's own
split are among those, so the score on that split is for comparison with papers and no more. The result of an ensemble
is that of all its members; the smaller ones are there to show how the errors fall. With `val=.01` the networks learn
from almost all digits, as a final model of a chosen recipe does.
"""
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from digit_recognizer.core.files import InputError
from digit_recognizer.data import take_digits, load_digits
from digit_recognizer.runs.ensemble import resume_run, run_ensemble
from digit_recognizer.evaluate import score
from digit_recognizer.runs.pipeline import run_pipeline
from digit_recognizer.runs.folder import PLAN, load_run, read_plan
from digit_recognizer.core.recipe import make_recipe
from results import begun, command, environment, result_file, write_result


def counts(y, proba):
    return {key: value for key, value in score(y, proba).to_dict().items() if key in ('n', 'errors')}


def facts(run):
    "What one trained network is judged by."
    return {'seed': run.info['recipe']['seed'],
            **{part: {k: run.info['scores'][part][k] for k in ('n', 'errors')} for part in ('validation', 'held_out')},
            **{key: run.info['training'][key] for key in ('seconds', 'cpu_seconds', 'precision', 'teachers')
               if key in run.info['training']}}


def averaged(runs, y):
    "Errors on the held-out digits when the first 1, 2, 3 … networks are averaged."
    return [{'members': n, **counts(y, np.mean([run.test for run in runs[:n]], axis=0))}
            for n in range(1, len(runs)+1)]


def run_of(folder, digits, recipe, members=1):
    "A run that was made before, or that is made or finished now; refuses one of another recipe or of other digits."
    if not folder.exists():
        if members==1: return run_pipeline(digits, recipe, folder, progress=False)
        return run_ensemble(digits, recipe, members, folder)
    begun = read_plan(folder) if (folder/PLAN).exists() else load_run(folder).info
    if (begun['recipe'], begun.get('data', begun)['fingerprint'])!=(asdict(recipe), digits.fingerprint):
        raise InputError(f"{folder}: was made by another recipe or of other digits; remove it")
    return resume_run(folder, members>1, digits) if (folder/PLAN).exists() else load_run(folder)


def seeds(digits, recipe, many, work):
    "One recipe, several seeds; each seed has its own validation digits."
    runs = []
    for seed in range(many):
        folder = work/f'{digits.source}-{recipe.name}-{seed}'
        runs.append(run_of(folder, digits, replace(recipe, seed=seed)))
        print(digits.source, recipe.name, facts(runs[-1]), flush=True)
    return {'how': 'seeds', 'recipe': runs[0].info['recipe'], 'networks': [facts(run) for run in runs],
            'averaged': averaged(runs, digits.y_test)}


def folds(digits, recipe, many, work):
    "One recipe, several members, each without another fold."
    folder = work/f'{digits.source}-{recipe.name}-{many}-members'
    run = run_of(folder, digits, recipe, many)
    members = [load_run(folder/'members'/str(i)) for i in range(many)]
    out_of_fold = {k: run.info['scores']['validation'][k] for k in ('n', 'errors')}
    print(digits.source, recipe.name, out_of_fold, flush=True)
    return {'how': 'folds', 'recipe': run.info['recipe'], 'networks': [facts(m) for m in members],
            'out_of_fold': out_of_fold, 'averaged': averaged(members, digits.y_test)}


MORE = {'val': .01} # almost all labelled digits are learnt from
# where the digits come from, whether seeds or folds differ, the recipe, its changes, how many networks
PLANS = [('embedded', seeds, 'fast', {}, 5), ('embedded', folds, 'best', {}, 5), ('embedded', folds, 'best', MORE, 5),
         ('embedded', seeds, 'distilled', {}, 1), ('standard', folds, 'best', {}, 5)]


def main(
    small: Annotated[bool, typer.Option('--small', help='A tiny recipe on 3,000 digits, to see that all works.')]=False,
    out: Annotated[Path, typer.Option(help='The result file.')]=None,
    work: Annotated[Path, typer.Option(help='For the run folders, which are not trained again; by default beside the result file.')]=None,
):
    out = result_file('accuracy', out, small)
    work = work or out.with_suffix('.work')
    result = begun(out, 'accuracy', small, one_machine=False)
    plans = [('embedded', seeds, 'tiny', {}, 2), ('standard', folds, 'tiny', {}, 2)] if small else PLANS
    for source, how, name, changes, many in plans:
        recipe = make_recipe(name, changes)
        old = [r for r in result['results'] if (r['source'], r['recipe']['name'])==(source, recipe.name)]
        if old and old[0]['recipe']==asdict(recipe): continue
        digits = take_digits(load_digits(source), 3000) if small else load_digits(source)
        result['results'] = [r for r in result['results'] if r not in old]
        result['results'].append({'source': source, 'environment': environment(), **how(digits, recipe, many, work)})
        write_result(out, result)


if __name__=='__main__': command(main)
