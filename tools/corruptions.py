"""Write the tables of a run that nbs/analysis/robustness.ipynb shows:

    python tools/corruptions.py RUN FOLDER
"""
import sys
from pathlib import Path

from digit_recognizer.analysis.robustness import ROBUSTNESS_DIGITS, ood_answers, robustness
from digit_recognizer.data import load_digits
from digit_recognizer.runs.folder import load_run


def write_tables(run, out):
    "Write a run's accuracy on corrupted digits, and its answers to images out of distribution."
    digits = load_digits()
    rows = run.validation["rows"][:ROBUSTNESS_DIGITS]
    table = robustness(run.model, digits.x[rows], digits.y[rows])
    table.to_csv(out / "robustness.csv", index=False, float_format="%.6g")
    ood_answers(run.model).to_csv(out / "no-digits.csv", float_format="%.4f")


if __name__ == "__main__":
    write_tables(load_run(sys.argv[1]), Path(sys.argv[2]))
