"""What the recipe file of `digit_recognizer new` is worth beside `fast`, over seeds.

    python benchmarks/own.py            # ten minutes; interrupted, it resumes
    python benchmarks/own.py --small    # a minute: an epoch on few digits
"""
from pathlib import Path
from typing import Annotated

import typer

from digit_recognizer.analysis.ranking import recipes_verdict
from digit_recognizer.core.files import atomic_write
from digit_recognizer.core.source import TEMPLATE, named_recipe
from digit_recognizer.data import load_digits, take_digits
from digit_recognizer.runs.folder import load_run
from digit_recognizer.runs.sweep import grid, run_sweep
from results import begun, command, result_file, write_result

SEEDS = 5


def main(
    small: Annotated[bool, typer.Option('--small', help='One epoch on 3,000 digits, to see that all works.')]=False,
    out: Annotated[Path, typer.Option(help='The result file; the finished runs beside it are not trained again.')]=None,
):
    out = result_file('own', out, small)
    work, result = out.with_suffix('.work'), begun(out, 'own', small)
    work.mkdir(parents=True, exist_ok=True)
    with atomic_write(work/'mine.py', replace=True) as part: part.write_text(TEMPLATE, encoding='utf-8')
    digits = take_digits(load_digits(), 3000) if small else load_digits()
    recipes = [str(work/'mine.py'), 'fast']
    runs = grid(recipes, {'epochs': [1], 'batch': [128]} if small else {}, 1 if small else SEEDS)
    table = run_sweep(digits, runs, work/'sweep')
    made = {name: {recipe.seed: load_run(work/'sweep'/run) for run, recipe in runs.items() if run.startswith(f'{name}-')}
            for name in ('mine', 'fast')}
    cost = [sum(run.info['training']['cpu_seconds'] for run in made[name].values())/len(made[name]) for name in table.recipe]
    result['recipes'] = table.drop(columns='problem').assign(cpu_seconds=cost).to_dict('records')
    result['code'], result['verdict'] = named_recipe(recipes[0]).code, recipes_verdict(made)
    result['results'] = [{'recipe': name, 'seed': seed, **run.info['scores']['validation']}
                         for name, group in made.items() for seed, run in group.items()]
    write_result(out, result)
    print(table.to_string(), result['verdict'], sep='\n')


if __name__=='__main__': command(main)
