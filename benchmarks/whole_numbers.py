"""Whole numbers on simulated stacks of sheets: 400 students, 9,500 sheets, with and without the list of their ids.

    python benchmarks/whole_numbers.py            # a minute
    python benchmarks/whole_numbers.py --small    # 400 sheets

The digits are held-out ones of MNIST, by the probabilities of the package's reader (digit_recognizer/reader/unseen.npz).
Each sheet draws its digits at random, so each digit is used about three times; the intervals take sheets as independent.
A second part asks whether promised rates hold: a threshold from one half of the digits, its errors on the other half.
"""
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from digit_recognizer.core.files import InputError
from digit_recognizer.evaluate import Score
from digit_recognizer.images.numbers import IdList, Known, Unseen, fit_promise, guess_rows, load_unseen, simulate
from digit_recognizer.runs.folder import pretrained_run
from results import command, environment, result_file, write_result

STUDENTS, SHEETS, LENGTH = 400, 9_500, 9
HELD_OUT = 28_000
RATES = (1/100, 1/300, 1/1000)


def lists(rng):
    "Ids of 400 students: random ones, and consecutive ones."
    return {'random ids': IdList(tuple(f'{n:09d}' for n in rng.choice(10**LENGTH, STUDENTS, False))),
            'consecutive ids': IdList(tuple(f'20230{n:04d}' for n in range(1000, 1000+STUDENTS)))}


def sheets(ids, unseen, n, rng):
    "Exams of all students, and the last one of some: their ids, and the evidence of random digits for them."
    exams = [rng.permutation(STUDENTS)[:min(STUDENTS, n-start)] for start in range(0, n, STUDENTS)]
    pools = [np.flatnonzero(unseen.y==d) for d in range(10)]
    for exam in exams:
        truth = ids.digits[exam]
        rows = np.vectorize(lambda d: rng.choice(pools[d]))(truth)
        yield [ids.ids[i] for i in exam], unseen.proba[rows]


def counted(n, wrong):
    "A rate of wrong numbers with Wilson's 95% interval."
    score = Score(n, wrong)
    low, high = score.interval()
    return {'sheets': n, 'wrong': wrong, 'rate': wrong/n, 'low': 1-high, 'high': 1-low}


def simulated(unseen, n):
    "Wrong numbers of all sheets, by what is known."
    for name, ids in lists(np.random.default_rng(1)).items():
        exams = list(sheets(ids, unseen, n, np.random.default_rng(2)))
        for way, known in (('without the list', Known(pattern='#'*LENGTH)), ('with the list', Known(ids)),
                           ('each id once', Known(ids, once=True))):
            guesses = [(guess, text) for texts, rows in exams for guess, text in zip(guess_rows(rows, known), texts)]
            wrong = [guess for guess, text in guesses if guess.text!=text]
            yield {'ids': name, 'way': way, **counted(n, len(wrong)), 'expected': round(sum(g.risk for g, _ in guesses), 1),
                   'wrong and above 0.9': sum(1 for g in wrong if g.fits and g.probability>=.9)}


def promised(unseen, seeds):
    "Thresholds from one half of the digits, and their errors on the other half, over random halves."
    for name, known in {'without the list': Known(pattern='#'*LENGTH),
                        **{n: Known(ids) for n, ids in lists(np.random.default_rng(1)).items()}}.items():
        for rate in RATES:
            row = {'numbers': name, 'rate': rate, 'halves': 0, 'without a promise': 0, 'answered': 0, 'of': 0, 'wrong': 0}
            for seed in range(seeds):
                order = np.random.default_rng(seed).permutation(len(unseen))
                one, other = (Unseen(unseen.proba[part], unseen.y[part]) for part in np.array_split(order, 2))
                try: limit = fit_promise(*simulate(known, one, LENGTH, seed=seed), rate, len(one)).limit
                except InputError: row['without a promise'] += 1
                else:
                    risk, wrong = simulate(known, other, LENGTH, seed=seed+1000)
                    row['halves'] += 1
                    row['answered'] += int((risk<=limit).sum())
                    row['of'] += len(risk)
                    row['wrong'] += int(wrong[risk<=limit].sum())
            yield {**row, 'rate found': row['wrong']/row['answered'] if row['answered'] else None}


def main(
    small: Annotated[bool, typer.Option('--small', help='400 sheets and two halves, to see that all works.')]=False,
    out: Annotated[Path, typer.Option(help='The result file.')]=None,
):
    out, every = result_file('whole_numbers', out, small), load_unseen(pretrained_run().folder)
    unseen = Unseen(every.proba[:HELD_OUT], every.y[:HELD_OUT])
    result = {'benchmark': 'whole_numbers', 'small': small, 'environment': environment(), 'digits': len(unseen), 'results': []}
    for row in simulated(unseen, STUDENTS if small else SHEETS):
        print(row, flush=True)
        result['results'].append(row)
    result['promises'] = []
    for row in promised(every, 2 if small else 20):
        print(row, flush=True)
        result['promises'].append(row)
    write_result(out, result)


if __name__=='__main__': command(main)
