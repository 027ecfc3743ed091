"""Trainings in child processes: their memory, their results, and what is left when one of the two processes dies.

Most jobs here are functions of this file and need no TensorFlow. Then records, which others can have changed.
"""
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings, strategies as st

from digit_recognizer.core import jobs
from digit_recognizer.core.backend import backend_settings
from digit_recognizer.core.files import BusyError, InputError, lock_folder
from digit_recognizer.runs.records import record_checksum
from processes import assert_same_run, children, wait_for

TESTS = str(Path(__file__).parent)


def lines(*text, **options):
    "Start Python with some lines, which can import this file; a Popen."
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen([sys.executable, "-c", "\n".join(text)], env=environ, text=True, start_new_session=True, **options)


def tree(pid):
    "A process and all that it started, as far as they live."
    try:
        found = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        return [p for p in found if p.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return []


def memory(pid):
    "What a process and all that it started hold, in MB."
    total = 0
    for p in tree(pid):
        with suppress(psutil.NoSuchProcess):
            total += p.memory_info().rss / 1e6
    return total


SWEEP = """
print("once")
import sys
from test_trainings import few_digits
from digit_recognizer.runs.sweep import grid, run_sweep
run_sweep(few_digits(), grid(["tiny"], {"width": ["4"]}, seeds=3), sys.argv[1], progress=False)
print("tensorflow" in sys.modules)
"""


def few_digits():
    "Digits from Python: arrays without a path."
    from digit_recognizer.data import Digits, load_digits

    d = load_digits()
    return Digits(d.x[:300], d.y[:300], d.x_test[:300], None, "csv")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    "A sweep of three trainings by a script without a guard: its folder, the most memory during each in MB, what is printed."
    tmp, peaks = tmp_path_factory.mktemp("sweep"), [0, 0, 0]
    (tmp / "script.py").write_text(SWEEP)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen([sys.executable, tmp / "script.py", tmp / "out"], stdout=subprocess.PIPE, text=True, env=environ)
    while process.poll() is None:
        run = min(len(list(tmp.glob("out/*/run.json"))), 2)
        peaks[run] = max(peaks[run], memory(process.pid))
        time.sleep(0.05)
    return tmp / "out", peaks, process.stdout.read()


@pytest.mark.slow
def test_memory_of_a_sweep_does_not_grow(swept):
    peaks = swept[1]
    assert peaks[2] - max(peaks[:2]) < 40, f"MB: {peaks}"  # a peak can be missed on a busy machine; what grows, grows again


@pytest.mark.slow
def test_parent_runs_its_script_once_and_imports_no_tensorflow(swept):
    assert swept[2] == "once\nFalse\n"


@pytest.mark.slow
def test_same_bits_as_in_this_process(swept, tmp_path):
    from digit_recognizer.runs.folder import load_run
    from digit_recognizer.runs.sweep import grid, run_sweep

    runs = grid(["tiny"], {"width": ["4"]}, seeds=2)
    run_sweep(few_digits(), runs, tmp_path / "here", False, jobs.SerialExecutor())
    for name in runs:
        assert_same_run(load_run(tmp_path / "here" / name), load_run(swept[0] / name))


@pytest.mark.slow
def test_teachers_are_counted_shown_and_verified(tmp_path):
    "Two members, each with a teacher: run.json and the terminal count both teachers, and verify notices a wrong count."
    from digit_recognizer.data import export_csv, load_digits, take_digits

    def command(*words):
        words = [sys.executable, "-m", "digit_recognizer", *map(str, words)]
        return subprocess.run(words, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})

    csvs, out = export_csv(take_digits(load_digits(), 600), tmp_path / "csvs"), tmp_path / "run"
    change = ["--set", "teachers=1", "--set", "teacher=tiny", "--set", "batch=64"]
    done = command("run", "--data", csvs, "--recipe", "tiny", *change, "--members", 2, "--no-report", "--out", out)
    assert not done.returncode and ", teachers 1" in done.stdout and "2, trained before: " in done.stdout, done
    info = json.loads((out / "run.json").read_text())
    assert info["training"]["teachers"]["networks"] == 2 and info["training"]["teachers"]["cpu_seconds"] > 0
    assert not command("verify", out, "--data", csvs).returncode
    info["training"]["teachers"]["networks"] = 3
    info["checksum"] = record_checksum(info)
    (out / "run.json").write_text(json.dumps(info))
    assert "3 teachers, the recipe asks for 2" in command("verify", out, "--data", csvs).stdout


def give(shared, *job):
    "What a job was given."
    return shared, *job


def settings_there(shared):
    "What TensorFlow would start with, and whether it has."
    return backend_settings(), os.environ.get("TF_ENABLE_ONEDNN_OPTS"), "tensorflow" in sys.modules


def in_child(fn, *job, shared=None):
    "The result of one job in a child process."
    return dict(jobs.ChildExecutor().map(fn, [job], lambda: shared))[job]


def test_results_arrays_and_settings_reach_the_other_process(monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "1")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert in_child(settings_there) == ({"threads": 3, "deterministic": "1"}, "0", False)
    x = np.arange(10**7, dtype=np.uint8)
    assert np.array_equal(in_child(give, 7, shared=x)[0], x)


class Strange(Exception):
    "An error that cannot be pickled."

    def __init__(self, a, b):
        super().__init__(f"strange {a} {b}")
        self.hold = lambda: None


def fail(kind):
    raise {"busy": BusyError("busy"), "full": OSError(28, "No space left on device", "a.npz"), "strange": Strange(1, 2),
           "exit": SystemExit(3)}[kind]


@pytest.mark.parametrize("kind, expected, message", [
    ("busy", BusyError, "^busy$"), ("full", OSError, "No space left"), ("strange", RuntimeError, "Strange: strange 1 2"),
    ("exit", InputError, "ended with exit code 3")])
def test_errors_come_back(kind, expected, message):
    with pytest.raises(expected, match=message) as caught:
        in_child(fail, shared=kind)
    assert kind != "full" or caught.value.filename == "a.npz"
    assert kind != "strange" or "test_trainings.py" in str(caught.value.__cause__)


def grandchild(shared):
    return in_child(give)


def test_a_process_that_cannot_have_children_says_so():
    with pytest.raises(InputError, match="cannot have child processes; give executor=SerialExecutor"):
        in_child(grandchild)


class Falsy(ValueError):
    def __len__(self):
        return 0


def raise_falsy(shared):
    raise Falsy("seven")


def test_an_error_that_is_false_is_an_error():
    with pytest.raises(Falsy, match="seven"):
        in_child(raise_falsy)


def stay(folder):
    "Hold a folder's lock for a long time."
    with lock_folder(Path(folder)), jobs.progress_bar(1, "job", show=False):
        print("print reaches the terminal", flush=True)
        (Path(folder) / "ready").touch()
        time.sleep(100)


@pytest.fixture
def working(tmp_path):
    "A process whose child holds the lock of tmp_path."
    process = lines("from digit_recognizer.core.jobs import ChildExecutor", "from test_trainings import stay",
                    f"list(ChildExecutor().map(stay, [()], lambda: {str(tmp_path)!r}))", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for("the child's lock", (tmp_path / "ready").exists, process)
    yield process
    for p in tree(process.pid):
        p.kill()


def test_killed_parent_leaves_no_child(working, tmp_path):
    everyone = tree(working.pid)
    assert len(children(working.pid)) == 1
    working.kill()
    working.wait()
    assert not psutil.wait_procs(everyone, timeout=30)[1], "a child outlives its parent"
    with lock_folder(tmp_path):
        pass
    assert working.stdout.read() == "print reaches the terminal\n" and working.stderr.read() == ""


@pytest.mark.parametrize("whom", ["group", "parent"])
def test_ctrl_c_ends_both(whom, working, tmp_path):
    everyone = tree(working.pid)
    os.killpg(working.pid, signal.SIGINT) if whom == "group" else working.send_signal(signal.SIGINT)
    said = working.communicate()[1]
    assert not psutil.wait_procs(everyone, timeout=30)[1], "a child outlives its parent"
    assert working.returncode != 0 and said.count("Traceback") == 1 and said.strip().endswith("KeyboardInterrupt"), said
    assert not (tmp_path / ".lock").exists(), "the child did not leave its contexts"


def test_killed_child_is_told_in_one_line(working, tmp_path):
    children(working.pid)[0].kill()
    said = working.communicate()[1].strip().splitlines()[-1]
    assert "leaked" not in said and "ChildError: the process of a job was killed by signal 9, mostly for lack of memory; what it finished is kept" in said
    with lock_folder(tmp_path):
        pass


def test_script_from_standard_input():
    "Such a script cannot be imported by a child, and is not."
    script = "import operator\nfrom digit_recognizer.core.jobs import ChildExecutor\nprint(list(ChildExecutor().map(operator.neg, [()], lambda: 7)))\n"
    told = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True)
    assert told.stdout == "[((), -7)]\n", told.stderr


def test_digits_made_in_python_reach_every_executor():
    "Digits that cannot be read again are sent; others are read again where the jobs run."
    from digit_recognizer.data import Digits, load_digits, take_digits
    from digit_recognizer.runs.folder import digits_maker

    whole = load_digits()
    few = take_digits(whole, 20)
    for digits in (few, replace(few, source="csv"), Digits(few.x, few.y, few.x_test, None, "csv")):
        there = pickle.loads(pickle.dumps(digits_maker(digits, object())))()
        assert there.fingerprint == digits.fingerprint
    assert len(pickle.dumps(digits_maker(whole, object()))) < 2000


DEEP = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize("content", [
    b"", b"{", b"null", b"[]", b'"a"', b"7", b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1e999}', b'{"a": "\xff"}', b"\xef\xbb\xbf{}",
    b"[" * 100_000, DEEP, b'{"a":' * 1000 + b"1" + b"}" * 1000, b'{"a": "\\ud800"}', b"\0" * 100, b"{'a': 1}"])
def test_damaged_records_are_refused(content, tmp_path):
    path = tmp_path / "job.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="job.json: not valid JSON .*; the record is damaged: start again under another name, or delete"):
        jobs.read_record(path)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(repr).map(str.encode)))
def test_any_bytes_are_a_record_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("record") / "job.json"
    path.write_bytes(content)
    try:
        assert isinstance(jobs.read_record(path), dict)
    except InputError:
        pass


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nothing", "device", "loop"])
def test_other_things_than_files_are_refused(kind, tmp_path):
    path = tmp_path / "job.json"
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "link to nothing": lambda: path.symlink_to(tmp_path / "gone"),
     "device": lambda: path.symlink_to("/dev/zero"), "loop": lambda: path.symlink_to(path)}[kind]()
    with pytest.raises(InputError, match="job.json"):
        jobs.read_record(path)


def test_large_files_are_not_read(tmp_path):
    with open(tmp_path / "job.json", "wb") as f:
        f.truncate(10**11)  # a hole, which takes no space
    with pytest.raises(InputError, match="100,000,000,000 bytes; expected at most 100,000,000; the record is damaged"):
        jobs.read_record(tmp_path / "job.json")


def test_records_without_nan(tmp_path):
    path = tmp_path / "job.json"
    jobs.write_record(path, {"loss": [float("nan"), float("inf"), 0.1], "n": (1, 2)})
    assert jobs.read_record(path) == {"loss": [None, None, 0.1], "n": [1, 2]}
    jobs.check_record(path, jobs.read_record(path), {"loss": [float("nan"), None, 0.1], "n": (1, 2)}, "a job")
    for kept in (None, [], "n", 7):
        with pytest.raises(InputError, match="the record is damaged"):
            jobs.check_record(path, kept, {"n": 1}, "a job")
