"""Make nbs/results/watch.npz, the training that the page "Watch it learn" shows:

    python tools/watch.py
"""
from pathlib import Path

from digit_recognizer.analysis.watch import watch
from digit_recognizer.data import load_embedded

FILE = Path(__file__).resolve().parent.parent / "nbs" / "results" / "watch.npz"
NUMBER = 2  # of the digit that is watched


if __name__ == "__main__":
    digits = load_embedded()
    watched = watch(digits.x, digits.y, NUMBER)
    watched.save(FILE)
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes; {watched}")
