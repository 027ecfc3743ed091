"""Runs that are killed at seeded moments, or whose disk is full, resume and end with exactly the same bits.

Half of the runs have one network, half have two members. A moment lies between the first sign of the run's folder and
its end; every fifth may lie before, where nothing is begun yet and the same command is given again.
"""
import os
import random
import resource
import signal
import subprocess
import time
from types import SimpleNamespace

import psutil
import pytest

from digit_recognizer.runs.folder import load_run
from processes import assert_same_run, checkpoints, children, run, start, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kill")]
WORDS = ["run", "--quiet", "--no-report"]


def pytest_generate_tests(metafunc):
    if "moment" in metafunc.fixturenames:
        metafunc.parametrize("moment", range(metafunc.config.getoption("moments")))


@pytest.fixture(scope="module")
def whole(csv_digits, tmp_path_factory):
    "Runs that nobody disturbs, by number of members: the command, seconds until the folder appears, seconds after that."
    runs = {}
    for members in (1, 2):
        words = [*WORDS, "--data", csv_digits, "--recipe", "tiny", "--set", "epochs=6", "--members", members]
        out = tmp_path_factory.mktemp("whole") / str(members)
        began = time.monotonic()
        process = start([*words, "--out", out], stdout=subprocess.DEVNULL)
        while not out.exists() and process.poll() is None:
            time.sleep(0.01)
        seen = time.monotonic()
        assert process.wait() == 0
        runs[members] = SimpleNamespace(words=words, before=seen - began, after=time.monotonic() - seen, run=load_run(out))
    return runs


def resume(words, out):
    "Finish a killed run as its user would."
    if (out / "plan.json").exists():
        told = run([*WORDS, "--resume", out])
    elif not out.exists():
        told = run([*words, "--out", out])
    else:
        return
    assert told.returncode == 0, told.stderr


def test_killed_runs_resume_bit_for_bit(moment, whole, tmp_path):
    expected, out = whole[1 + moment % 2], tmp_path / "killed"
    early, rng = moment % 5 == 4, random.Random(moment)
    process = start([*expected.words, "--out", out], stdout=subprocess.DEVNULL)
    while not early and not out.exists() and process.poll() is None:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, expected.before if early else expected.after))
    process.kill()
    process.wait()
    resume(expected.words, out)
    assert_same_run(load_run(out), expected.run)


@pytest.mark.parametrize("members, whom", [(1, "command"), (2, "command"), (2, "group"), (2, "child")])
def test_killed_while_training(members, whom, whole, tmp_path):
    "At least this moment lies inside a training. Members train in child processes, which never outlive the command."
    expected, out = whole[members], tmp_path / "killed"
    process = start([*expected.words, "--out", out], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for("a checkpoint", lambda: checkpoints(out), process)
    training = children(process.pid)
    assert len(training) == members - 1
    if whom == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        (training[0] if whom == "child" else process).kill()
    said = process.communicate()[1].strip()
    if whom == "child":
        assert process.returncode == 2 and said.count("\n") == 0, said
        assert "was killed by signal 9" in said and said.endswith(f"resume with: digit_recognizer run --resume {out}"), said
    assert not (out / "run.json").exists()
    resume(expected.words, out)
    assert_same_run(load_run(out), expected.run)
    assert not psutil.wait_procs(training, timeout=10)[1], "a child outlives its command"


def test_full_disk_ends_in_one_line(whole, tmp_path):
    "A run whose files may not grow beyond some kilobytes says how to resume, and does."
    expected, out = whole[1], tmp_path / "full"

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    told = run([*expected.words, "--out", out], preexec_fn=limit)
    assert told.returncode == 2 and "Traceback" not in told.stderr, told.stderr
    assert "--resume" in told.stderr.strip().splitlines()[-1]
    resume(expected.words, out)
    assert_same_run(load_run(out), expected.run)
