"""Write the tables of a run, or of the pretrained model, that nbs/analysis/robustness.ipynb shows:

    python tools/corruptions.py RUN FOLDER
    python tools/corruptions.py digit_recognizer/reader nbs/results/reader
"""
import sys
from pathlib import Path

from digit_recognizer.analysis.robustness import ROBUSTNESS_DIGITS, ood_answers, robustness
from digit_recognizer.data import load_digits
from digit_recognizer.preprocess import split
from digit_recognizer.runs.folder import load_run


def write_tables(run, out):
    "Write a run's accuracy on corrupted digits, and its answers to images out of distribution."
    digits = load_digits()
    recipe = run.recipe
    rows = split(digits.y, recipe.val, recipe.seed, recipe.stratify)[1][:ROBUSTNESS_DIGITS]
    out.mkdir(exist_ok=True)
    table = robustness(run.model, digits.x[rows], digits.y[rows])
    table.to_csv(out / "robustness.csv", index=False, float_format="%.6g")
    ood_answers(run.model).to_csv(out / "no-digits.csv", float_format="%.4f")


if __name__ == "__main__":
    write_tables(load_run(sys.argv[1]), Path(sys.argv[2]))
