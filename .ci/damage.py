"""Write what 14_robustness shows of a run: python .ci/damage.py RUN FOLDER; see CONTRIBUTING.md."""
import sys
from pathlib import Path

from digit_recognizer.data import load_digits
from digit_recognizer.robustness import SAMPLE, no_digit_answers, robustness
from digit_recognizer.runs import load_run

run, out, digits = load_run(sys.argv[1]), Path(sys.argv[2]), load_digits()
rows = run.validation["rows"][:SAMPLE]
robustness(run.model, digits.x[rows], digits.y[rows]).to_csv(out / "robustness.csv", index=False, float_format="%.6g")
no_digit_answers(run.model).to_csv(out / "no-digits.csv", float_format="%.4f")
