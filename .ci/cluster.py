"""Kill workers of a cluster in the middle of their jobs, and compare with the same commands that nobody disturbed.

    python .ci/cluster.py

A scoring job on two local workers, one of them killed; on a scheduler of its own with workers as a user would start
them, one killed; two members of an ensemble, a worker killed in the middle of a fold; the command itself stopped or
killed, and given again. What must be equal, to the last byte: the file of labels; to the last bit: weights, curves and
probabilities. Then what a user may get wrong.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

from digit_recognizer.data import export_csv, first_digits, load_digits
from digit_recognizer.export import export_run
from digit_recognizer.runs import load_run, shipped_run
from kill import same

PROGRAM = [sys.executable, "-m", "digit_recognizer"]
failed = []


def check(what, fine, *more):
    print(f"{what}: {'fine' if fine else 'WRONG'}", *more, flush=True)
    if not fine:
        failed.append(what)


def begun(words, **kwargs):
    return subprocess.Popen([*PROGRAM, *map(str, words)], **kwargs)


def done(words, **kwargs):
    return subprocess.run([*PROGRAM, *map(str, words)], capture_output=True, text=True, **kwargs)


def workers_of(pid):
    "The worker processes that a command has started."
    with_workers = psutil.Process(pid).children(recursive=True)
    return [child for child in with_workers if any("spawn_main" in word for word in child.cmdline())]


def wait_for(what, found, process):
    "Wait until something is seen, or the command has ended."
    for _ in range(6000):
        seen = found()
        if seen:
            return seen
        assert process.poll() is None, f"the command ended before {what}"
        time.sleep(0.01)
    raise AssertionError(f"{what} was never seen")


@contextmanager
def scheduler_and_workers(folder, environments):
    "A scheduler and workers, as a user starts them, each worker with the environment it is given."
    quiet = dict(stdout=subprocess.DEVNULL, cwd=folder)
    scheduler = subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"],
                                 stderr=subprocess.PIPE, text=True, **quiet)
    address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at" in line)
    workers = [subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"],
                                stderr=subprocess.DEVNULL, env=environ, **quiet) for environ in environments]
    try:
        yield address, workers, scheduler
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def finished_parts(out):
    "How many parts of a scoring are done?"
    return len(list(out.with_name(f".{out.name}.part").glob("*.npy")))


def under_way(out, process):
    "Wait until a scoring has done some parts; how many?"
    wait_for("a finished part", lambda: finished_parts(out) > 1, process)
    return finished_parts(out)


def scoring(tmp, run, many, parts):
    "Kill workers, and the command itself, in the middle of a scoring."
    serial = tmp / "serial.csv"
    assert done(["predict", run, many, "--out", serial, "--quiet"]).returncode == 0

    out = tmp / "local.csv"
    process = begun(["predict", run, many, "--out", out, "--quiet", "--workers", 2], stdout=subprocess.DEVNULL)
    at = under_way(out, process)
    workers_of(process.pid)[0].kill()
    check("scoring, one of two local workers killed", process.wait() == 0 and out.read_bytes() == serial.read_bytes() and at < parts, f"(after {at} of {parts} parts)")

    with scheduler_and_workers(tmp, [None, None]) as (address, workers, _):
        out = tmp / "cluster.csv"
        process = begun(["predict", run, many, "--out", out, "--quiet", "--dask", address], stdout=subprocess.DEVNULL)
        at = under_way(out, process)
        workers[0].kill()
        check("scoring, one of two workers of a scheduler killed", process.wait() == 0 and out.read_bytes() == serial.read_bytes() and at < parts,
              f"(after {at} of {parts} parts)")

    with scheduler_and_workers(tmp, [None]) as (address, _, scheduler):
        out = tmp / "lost.csv"
        words = ["predict", run, many, "--out", out, "--quiet"]
        process = begun([*words, "--dask", address], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        under_way(out, process)
        scheduler.kill()
        said = process.communicate()[1].strip()
        check("the scheduler killed", process.returncode == 2 and said.startswith("error: the Dask scheduler was lost") and said.count("\n") == 0, said)
    check("scoring, the scheduler killed and the command given again", done(words).returncode == 0 and out.read_bytes() == serial.read_bytes())

    out = tmp / "stopped.csv"
    words = ["predict", run, many, "--out", out, "--quiet"]
    process = begun([*words, "--workers", 2], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
    under_way(out, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said = process.communicate()[1].strip()
    check("scoring, stopped by Ctrl-C", process.returncode == 130 and said.startswith("stopped: what is predicted is kept") and "Traceback" not in said, said)
    check("and given again", done(words).returncode == 0 and out.read_bytes() == serial.read_bytes())

    out = tmp / "again.csv"
    words = ["predict", run, many, "--out", out, "--quiet"]
    process = begun([*words, "--workers", 2], stdout=subprocess.DEVNULL)
    under_way(out, process)
    left = workers_of(process.pid)
    process.kill()
    process.wait()
    at = finished_parts(out)
    for _ in range(3000):
        if not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in left):
            break
        time.sleep(0.01)
    else:
        check("no worker is left behind by a command that was killed", False)
    check("scoring, the command killed and given again", done(words).returncode == 0 and out.read_bytes() == serial.read_bytes() and at < parts,
          f"(after {at} of {parts} parts)")


def training(tmp, data):
    "Kill a worker in the middle of a fold."
    words = ["run", "--data", data, "--recipe", "tiny", "--set", "epochs=6", "--members", 2, "--threads", 1, "--quiet", "--no-report"]
    assert done([*words, "--out", tmp / "serial"]).returncode == 0
    process = begun([*words, "--out", tmp / "killed", "--workers", 2], stdout=subprocess.DEVNULL)
    state = wait_for("a finished epoch", lambda: list((tmp / "killed").rglob("epoch-*.npz")), process)[0]
    workers_of(process.pid)[0].kill()
    check("an ensemble, one of two workers killed in a fold", process.wait() == 0 and same(load_run(tmp / "killed"), load_run(tmp / "serial")),
          f"(after {state.stem} of 6 of a member)")
    members = [[load_run(tmp / name / "members" / str(i)) for i in range(2)] for name in ("killed", "serial")]
    check("its members", all(same(a, b) for a, b in zip(*members)))


def mistakes(tmp, run, many):
    "What a user may get wrong: one line, exit code 2, nothing left behind."
    def says(what, words, *expected, **kwargs):
        before = sorted(tmp.rglob("*"))
        told = done(words, **kwargs)
        line = told.stderr.strip()
        fine = told.returncode == 2 and line.count("\n") == 0 and all(word in line for word in expected) and sorted(tmp.rglob("*")) == before
        check(what, fine, "" if fine else told)

    words = ["predict", run, many, "--out", tmp / "no.csv", "--quiet", "--dask"]
    says("nobody listens at the address", [*words, "tcp://127.0.0.1:9"], "no Dask scheduler answers at tcp://127.0.0.1:9")
    bare = tmp / "bare"
    bare.mkdir()
    (bare / "sitecustomize.py").write_text(
        "import sys\n"
        "class NotHere:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'digit_recognizer': raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, NotHere())\n"
        "import importlib.metadata as metadata\n"
        "version = metadata.version\n"
        "def without(name):\n"
        "    if name == 'digit_recognizer': raise metadata.PackageNotFoundError(name)\n"
        "    return version(name)\n"
        "metadata.version = without\n")
    with scheduler_and_workers(tmp, []) as (address, *_):
        says("a scheduler without workers", [*words, address], "has no worker; start one on each machine by: dask worker")
    with scheduler_and_workers(tmp, [{**os.environ, "PYTHONPATH": str(bare)}]) as (address, *_):
        says("a worker without the package", [*words, address], "has digit_recognizer not at all (here", "install the same versions there")
    (bare / "sitecustomize.py").write_text(
        "import importlib.metadata as metadata\n"
        "version = metadata.version\n"
        "metadata.version = lambda name: '0.0.9' if name == 'digit_recognizer' else version(name)\n"
        "import digit_recognizer\n"
        "digit_recognizer.__version__ = '0.0.9'\n")
    with scheduler_and_workers(tmp, [{**os.environ, "PYTHONPATH": str(bare)}]) as (address, *_):
        says("a worker with another version", [*words, address], "has digit_recognizer 0.0.9 (here")
    shutil.rmtree(bare)


def bad_row(tmp, run, many):
    "A bad row in one of many files: all others are done, and the same command goes on when it is mended."
    whole = (many / "7.csv").read_bytes()
    (many / "7.csv").write_bytes(whole.replace(b"\n0,", b"\n0,999,", 1))
    out = tmp / "mended.csv"
    words = ["predict", run, many, "--out", out, "--quiet", "--workers", 2]
    told = done(words)
    kept = finished_parts(out)
    check("a bad row", told.returncode == 2 and "7.csv: line 2 has 785 cells" in told.stderr and "the others are kept" in told.stderr and not out.exists() and kept == 23,
          f"({kept} parts are kept)")
    (many / "7.csv").write_bytes(whole)
    check("mended", done(words).returncode == 0 and out.read_bytes() == (tmp / "serial.csv").read_bytes())


def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs this in the background lets it be ignored
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        data = export_csv(first_digits(load_digits(), 3000), tmp / "digits")
        run = Path(shutil.copytree(shipped_run().folder, tmp / "run"))
        export_run(load_run(run))
        many = tmp / "many"
        many.mkdir()
        for i in range(24):
            shutil.copy(data / "test.csv", many / f"{i}.csv")
        scoring(tmp, run, many, 24)
        bad_row(tmp, run, many)
        mistakes(tmp, run, many)
        training(tmp, data)
    print(f"{len(failed)} wrong")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
