"""Commands of the package, each in a process of its own, a guard against waiting for ever, and the comparison of runs."""
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import psutil

PROGRAM = [sys.executable, "-m", "digit_recognizer"]
CLOCK = ["seconds", "cpu_seconds"]
FOREVER = 120  # seconds; nothing that works takes as long, even on a busy machine


@contextmanager
def no_hang():
    "Fail instead of waiting for ever."

    def fail(*_):
        raise AssertionError(f"waited more than {FOREVER} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(FOREVER)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def start(words, **options):
    "Start a command; a Popen."
    return subprocess.Popen([*PROGRAM, *map(str, words)], **options)


def run(words, **options):
    "Run a command to its end; exit code, standard output and standard error."
    return subprocess.run([*PROGRAM, *map(str, words)], capture_output=True, text=True, **options)


def children(pid):
    "The processes that do jobs for a command: workers, or trainings."
    return [p for p in psutil.Process(pid).children(recursive=True) if any("spawn_main" in word for word in p.cmdline())]


def checkpoints(folder):
    "Paths of all checkpoints in a folder where files and folders come and go meanwhile."
    return [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names if re.fullmatch(r"epoch-.*\.npz", name)]


def wait_for(what, found, process):
    "Wait until `found` returns something; fail when the command ends before."
    for _ in range(6000):
        seen = found()
        if seen:
            return seen
        assert process.poll() is None, f"the command ended before {what}"
        time.sleep(0.01)
    raise AssertionError(f"{what} was never seen")


def assert_same_run(a, b):
    "Two finished runs agree bit for bit in everything but the clock."
    assert all(np.array_equal(p, q) for p, q in zip(a.model.get_weights(), b.model.get_weights(), strict=True)), "weights"
    assert a.curve.drop(columns=CLOCK).equals(b.curve.drop(columns=CLOCK)), "curve"
    for name in ("rows", "y", "proba"):
        assert np.array_equal(a.validation[name], b.validation[name]), name
    assert np.array_equal(a.test, b.test), "probabilities of the held-out digits"
    assert (a.folder / "submission.csv").read_bytes() == (b.folder / "submission.csv").read_bytes(), "submission"
    assert {p.name for p in a.folder.rglob("*")} == {p.name for p in b.folder.rglob("*")}, "files"
