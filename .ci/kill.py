"""Kill a run at seeded moments, go on with it, and compare with a run that nobody killed.

    python .ci/kill.py         # 20 moments, a few minutes
    python .ci/kill.py 4       # fewer

Half of the runs have one network, half have two members. A moment lies between the first sign of the run's folder and
its end; every fifth may also lie before, where nothing is begun yet and the same command is given again. What must be
equal, to the last bit: weights, curve (but for the clock), probabilities, submission. At last the disk is full: a run
that may write no more than a few kilobytes to a file ends in one line, and goes on when it may.
"""
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from digit_recognizer.data import export_csv, first_digits, load_digits
from digit_recognizer.runs import load_run

PROGRAM = [sys.executable, "-m", "digit_recognizer", "run", "--quiet", "--no-report"]


def command(data, members):
    return [*PROGRAM, "--data", str(data), "--recipe", "tiny", "--set", "epochs=6", "--members", str(members)]


def same(a, b):
    "Do two finished runs agree in everything but the clock?"
    clock = ["seconds", "cpu_seconds"]
    return (
        all(np.array_equal(p, q) for p, q in zip(a.model.get_weights(), b.model.get_weights(), strict=True))
        and a.curve.drop(columns=clock).equals(b.curve.drop(columns=clock))
        and all(np.array_equal(a.validation[k], b.validation[k]) for k in ("rows", "y", "proba"))
        and np.array_equal(a.test, b.test)
        and (a.folder / "submission.csv").read_bytes() == (b.folder / "submission.csv").read_bytes()
        and {p.name for p in a.folder.rglob("*")} == {p.name for p in b.folder.rglob("*")}
    )


def seconds_of(words, out):
    "Run to the end; seconds until the folder appeared, and from then on."
    began = time.monotonic()
    process = subprocess.Popen([*words, "--out", str(out)], stdout=subprocess.DEVNULL)
    while not out.exists() and process.poll() is None:
        time.sleep(0.01)
    seen = time.monotonic()
    assert process.wait() == 0
    return seen - began, time.monotonic() - seen


def kill(words, out, wait, from_start):
    "Start, wait for the folder (or not), wait a while, kill; what was on the disk then."
    process = subprocess.Popen([*words, "--out", str(out)], stdout=subprocess.DEVNULL)
    while not from_start and not out.exists() and process.poll() is None:
        time.sleep(0.002)
    time.sleep(wait)
    process.kill()
    process.wait()
    if not out.exists():
        return "nothing"
    if (out / "run.json").exists():
        return "a finished run"
    states, members, results = (len(list(out.rglob(name))) for name in ("epoch-*.npz", "members/*/run.json", "validation.npz"))
    return f"{members} members, {states} states, {results} results"


def go_on(words, out):
    "Finish a killed run as its user would."
    begun = (out / "plan.json").exists()
    again = [*PROGRAM, "--resume", str(out)] if begun else [*words, "--out", str(out)]
    if begun or not out.exists():
        subprocess.run(again, check=True, stdout=subprocess.DEVNULL)


def full_disk(words, out):
    "A run whose files may not grow beyond some kilobytes: one line, and nothing that cannot be gone on with."
    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    process = subprocess.run([*words, "--out", str(out)], capture_output=True, text=True, preexec_fn=limited)
    line = (process.stderr.strip().splitlines() or [""])[-1]
    print(f"full disk: exit code {process.returncode}: {line.replace(str(out), 'RUN')}")
    return process.returncode == 2 and "--resume" in line and "Traceback" not in process.stderr


def main(moments):
    rng, passed, failed = random.Random(0), 0, 0
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        data = export_csv(first_digits(load_digits(), 3000), tmp / "digits")
        whole, seen = {}, []
        for members in (1, 2):
            words = command(data, members)
            start, rest = seconds_of(words, tmp / f"whole-{members}")
            whole[members] = words, start, rest, load_run(tmp / f"whole-{members}")
        for i in range(moments):
            words, start, rest, expected = whole[1 + i % 2]
            early = i % 5 == 4
            wait = rng.uniform(0, start if early else rest)
            found = kill(words, tmp / f"killed-{i}", wait, early)
            seen.append(found)
            go_on(words, tmp / f"killed-{i}")
            equal = same(load_run(tmp / f"killed-{i}"), expected)
            passed, failed = passed + equal, failed + (not equal)
            print(f"moment {i + 1}: found {found}; {'identical' if equal else 'DIFFERENT'}", flush=True)
        assert moments < 6 or sum("0 states" not in found for found in seen) > 1, "hardly a run was killed in its training"
        words, _, _, expected = whole[1]
        equal = full_disk(words, tmp / "full")
        go_on(words, tmp / "full")
        equal = equal and same(load_run(tmp / "full"), expected)
        passed, failed = passed + equal, failed + (not equal)
    print(f"{passed} passed, {failed} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
