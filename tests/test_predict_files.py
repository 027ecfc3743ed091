"""Predicting files: chunks that were damaged, files that change meanwhile, streams, odd names, and nothing of the user's replaced.

A stand-in for the network answers at once, so these tests need no TensorFlow: the label of a digit is its first pixel.
"""
import io
import os
import shutil
import threading
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from digit_recognizer import cli
from digit_recognizer.core.files import InputError
from digit_recognizer.core.jobs import SerialExecutor
from digit_recognizer.core.tables import PIXELS, write_csv
from digit_recognizer.scale import scoring
from digit_recognizer.scale.scoring import list_digit_files, predict_files, split_file, write_predictions
from test_terminal import append, replace, rewrite, truncate, typed

ROWS, SIZE = 60, 30_000
MODULE = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class FirstPixel:
    "A network that is rather sure."
    batch = 1000

    def predict_on_batch(self, x):
        labels = np.asarray(x).reshape(len(x), -1)[:, 0].astype(int) % 10
        proba = np.full((len(x), 10), 0.01, np.float32)
        proba[np.arange(len(x)), labels] = 0.5 + np.arange(len(x)) % 40 / 100
        return proba / proba.sum(1, keepdims=True)


@pytest.fixture(autouse=True)
def network():
    with patch.object(scoring, "load_cached_model", lambda model: FirstPixel()):
        yield


@pytest.fixture()
def job(tmp_path):
    "Two files of digits, each of several chunks, and a model."
    rng, folder = np.random.RandomState(0), tmp_path / "digits"
    folder.mkdir()
    rows = rng.randint(0, 256, (2, ROWS, 784)).astype(np.uint8)
    rows[:, :, 0] = rng.randint(0, 10, (2, ROWS))
    write_csv(folder / "1.csv", PIXELS, rows[0])
    pd.DataFrame(rows[1], columns=PIXELS).to_parquet(folder / "2.parquet", index=False, row_group_size=20)
    (tmp_path / "m.keras").write_bytes(b"model")
    chunks = [chunk for i, path in enumerate(list_digit_files(folder)) for chunk in split_file(i, path, SIZE)]
    return SimpleNamespace(
        folder=folder, model=tmp_path / "m.keras", part=tmp_path / ".out.csv.part", labels=rows[:, :, 0].ravel(), chunks=len(chunks), here=tmp_path
    )


class Stops(SerialExecutor):
    "An executor that does something, or is interrupted, after a job."

    def __init__(self, after, do):
        self.after, self.do, self.jobs = after, do, 0

    def map(self, fn, jobs, make_shared):
        for done in super().map(fn, jobs, make_shared):
            yield done
            self.jobs += 1
            if self.jobs == self.after:
                self.do()


def interrupt():
    raise KeyboardInterrupt


def predict(job, executor=SerialExecutor(), source=None):
    with predict_files(job.model, source or job.folder, job.part, executor, size=SIZE) as results:
        return np.concatenate(list(results))["label"]


def stop(job, after):
    with pytest.raises(KeyboardInterrupt):
        predict(job, Stops(after, interrupt))
    return sorted(job.part.glob("*.npy"))


# Kept chunks --------------------------------------------------------------------------------------------------------


@given(st.data())
@MODULE
def test_damaged_chunks_are_predicted_again(job, data):
    shutil.rmtree(job.part, ignore_errors=True)
    kept = {path: path.read_bytes() for path in stop(job, job.chunks - 1)}
    damaged = data.draw(st.lists(st.sampled_from(list(kept)), min_size=1, unique=True))
    for path in damaged:
        content, kind = kept[path], data.draw(st.sampled_from(["cut", "byte", "rows", "longer", "swap", "gone"]))
        at = data.draw(st.integers(0, len(content) - 1))
        if kind == "cut":
            path.write_bytes(content[:at])
        elif kind == "byte":
            path.write_bytes(content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :])
        elif kind == "rows":
            np.save(path, np.load(path)[:-1])
        elif kind == "longer":
            path.write_bytes(content + b"x")
        elif kind == "swap":
            path.write_bytes(next(kept[other] for other in kept if other != path))
        else:
            path.unlink()
    executor = Stops(0, interrupt)
    assert np.array_equal(predict(job, executor), job.labels)
    assert executor.jobs == 1 + len(damaged)
    assert not job.part.exists()


def test_a_pipe_in_the_place_of_a_chunk_is_not_waited_for(job):
    kept = stop(job, 1)[0]
    kept.unlink()
    os.mkfifo(kept)
    assert np.array_equal(predict(job), job.labels)


def test_a_damaged_record_is_refused_or_begun_anew(job):
    stop(job, 2)
    record = job.part / "job.json"
    for state in ('"state": 7', '"state": [[1]]', '"state": null', '"status": 3'):
        text = record.read_text()
        record.write_text(text[: text.index('"state"')] + state + "}")
        assert np.array_equal(predict(job), job.labels)
        stop(job, 2)
    for text in ("{", "[]", '"x"', "null", "\udcff".encode("utf-8", "surrogatepass").decode("latin1")):
        record.write_text(text)
        with pytest.raises(InputError):
            predict(job)


# The folder of a job ------------------------------------------------------------------------------------------------


def entries(folder):
    return {path.name: path.is_file() and path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("names", [["thesis.npy", "notes.txt"], ["000000-000000000000000.npy"], ["review.csv"], [".2024-run.json"], [".hidden/"]])
def test_a_folder_of_the_user_is_refused_and_untouched(names, job):
    job.part.mkdir()
    for name in names:
        (job.part / name).mkdir() if name.endswith("/") else (job.part / name).write_text("mine")
    before = entries(job.part)
    with pytest.raises(InputError, match=r"\.out\.csv\.part already exists; choose another name or delete it first"):
        predict(job)
    assert entries(job.part) == before


@pytest.mark.parametrize("after", [None, 0, 2])
def test_what_the_user_puts_into_the_folder_of_a_job_stays(after, job):
    "The job is finished, stopped without a prediction, or stopped and resumed."
    users = {"thesis.npy": b"mine", "notes.txt": b"mine", "2024-01.npy": b"mine"}

    def put():
        for name, content in users.items():
            (job.part / name).write_bytes(content)
        if after is not None:
            raise KeyboardInterrupt

    if after == 0:
        with patch.object(scoring, "_predict_missing", lambda *args: put()), pytest.raises(KeyboardInterrupt):
            predict(job)
    elif after:
        with pytest.raises(KeyboardInterrupt):
            predict(job, Stops(after, put))
        assert np.array_equal(predict(job), job.labels)
    else:
        assert np.array_equal(predict(job, Stops(2, put)), job.labels)
    assert entries(job.part) == users


class Killed(BaseException):
    "A process that does nothing more."


def killed_before(step, job, source):
    "Is a prediction killed before its n-th change of the job's folder? Nothing is done after it."

    def limited(do):
        def change(path, *args, **options):
            nonlocal step
            step -= str(job.part) in str(path)
            if step < 0 and str(job.part) in str(path):
                raise Killed
            return do(path, *args, **options)

        return change

    with patch.multiple(os, **{name: limited(getattr(os, name)) for name in ("mkdir", "replace", "unlink", "rmdir")}):
        try:
            predict(job, source=source)
        except Killed:
            return True
    return False


def test_killed_at_any_moment_the_same_command_works(job):
    "The command is resumed, or the folder of the finished job is used again."
    source, step = job.folder / "2.parquet", 0
    while killed_before(step, job, source):
        step += 1
        assert np.array_equal(predict(job, source=source), job.labels[ROWS:])
        assert not job.part.exists()
    assert step > 10 and not job.part.exists()


# Files that change --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["1.csv", "2.parquet"])
@pytest.mark.parametrize("change", [append, replace, truncate, rewrite, lambda path: path.unlink()])
@pytest.mark.parametrize("after", [1, 3, 7])
def test_a_file_that_changes_between_chunks(change, name, after, job):
    path = job.folder / name
    whole, state = path.read_bytes(), (0, path.stat().st_mtime_ns)
    chunks = len(split_file(0, path, SIZE))
    with pytest.raises(InputError) as told:
        predict(job, Stops(min(after, job.chunks), lambda: change(path)))
    first = f"{chunks} of {job.chunks} chunks cannot be predicted; the others are kept, so correct these and repeat the command: "
    assert str(told.value) == f"{first}{path}: changed while it was read; repeat the command when nothing writes to it"
    number = list_digit_files(job.folder).index(path) if path.exists() else int(name == "2.parquet")
    assert not list(job.part.glob(f"{number:06}-*"))
    path.write_bytes(whole)
    os.utime(path, ns=state)
    assert np.array_equal(predict(job), job.labels)


@pytest.mark.parametrize("change", [append, rewrite, truncate])
def test_a_file_that_changes_within_a_chunk(change, job):
    path, read = job.folder / "1.csv", scoring.read_chunk

    def read_while_changing(chunk):
        yield from read(chunk)
        if chunk.file == 0 and chunk.span[0] > 2 * SIZE:
            change(chunk.path)

    os.utime(path, ns=(0, 10**9))
    whole = path.read_bytes()
    with patch.object(scoring, "read_chunk", read_while_changing), pytest.raises(InputError, match="1.csv: changed while it was read"):
        predict(job)
    assert {kept.name[:6] for kept in job.part.glob("*.npy")} == {"000001"}
    path.write_bytes(whole)
    assert np.array_equal(predict(job), job.labels)


def test_the_same_file_twice_is_two_files(job):
    (job.folder / "0.csv").symlink_to(job.folder / "1.csv")
    assert np.array_equal(predict(job), np.concatenate([job.labels[:ROWS], job.labels]))


# What is the user's -------------------------------------------------------------------------------------------------


@pytest.fixture()
def command(job):
    "The command `predict` with the stand-in; the run needs no files."
    run = SimpleNamespace(folder=job.here, info={"data": {"rehearsal": False}})
    with (
        patch("digit_recognizer.runs.folder.load_run", lambda folder: run),
        patch("digit_recognizer.runs.export.fastest_file", lambda run: job.model),
        patch.object(predict_files.__wrapped__, "__defaults__", predict_files.__wrapped__.__defaults__[:-1] + (SIZE,)),
    ):
        yield lambda *more, out=job.here / "out.csv": typed("predict", job.here, job.folder, "--out", out, "--quiet", *more)


def labels_of(path):
    return pd.read_csv(path).Label.to_numpy()


def test_a_review_of_the_user_is_never_replaced(command, job):
    review, out = job.here / "out-review.csv", job.here / "out.csv"
    stop(job, 2)
    review.write_text("mine")
    for _ in range(2):
        code, _, err = command("--abstain-below", ".9")
        assert code == 2 and "out-review.csv already exists; choose another name or delete it first" in err
        assert review.read_text() == "mine" and not out.exists()
    assert command()[0] == 0
    assert np.array_equal(labels_of(out), job.labels) and review.read_text() == "mine"


@pytest.mark.parametrize("step", ["write_review", "_place_review", "write_predictions"])
@pytest.mark.parametrize("late", [False, True])
def test_killed_between_the_two_results(step, late, command, job):
    review, out = job.here / "out-review.csv", job.here / "out.csv"
    place = {"write_review": "digit_recognizer.analysis.confidence", "_place_review": "digit_recognizer.cli"}.get(step, "digit_recognizer.scale.scoring")
    do = getattr(__import__(place, fromlist=[step]), step)

    def kill(*args):
        if late:
            do(*args)
        raise KeyboardInterrupt

    with patch(f"{place}.{step}", kill):
        code, _, err = command("--abstain-below", ".9")
    assert code == 130 and "repeat the command to resume" in err
    if late and step == "write_predictions":  # both are there
        assert np.array_equal(labels_of(out), job.labels)
        return
    assert not out.exists()
    if review.exists():  # a person has begun with it
        mine = review.read_text() + "mine"
        ours, _ = review.read_text(), review.write_text(mine)
        assert command("--abstain-below", ".9")[0] == 2
        assert review.read_text() == mine and not out.exists()
        review.write_text(ours)
    assert command("--abstain-below", ".9")[0] == 0
    assert np.array_equal(labels_of(out), job.labels) and len(review.read_text().splitlines()) > 2
    assert sorted(path.name for path in job.here.iterdir()) == ["digits", "m.keras", "out-review.csv", "out.csv"]


def test_a_result_that_appears_meanwhile_is_not_replaced(command, job):
    out, write = job.here / "out.csv", scoring._write_csv

    def meanwhile(results, path):
        out.write_text("mine")
        write(results, path)

    with patch.object(scoring, "_write_csv", meanwhile):
        code, _, err = command()
    assert code == 2 and "out.csv already exists" in err and out.read_text() == "mine"
    out.unlink()
    assert command()[0] == 0 and np.array_equal(labels_of(out), job.labels)


def test_where_the_result_cannot_be(command, job):
    (job.here / "link.csv").symlink_to("nowhere.csv")
    os.mkfifo(job.here / "pipe.csv")
    for name in ("link.csv", "pipe.csv", "no/out.csv", "m.keras/out.csv", "x" * 256, "."):
        code, _, err = command(out=job.here / name)
        assert code == 2 and err.count("\n") == 1 and "Traceback" not in err, err
    name = "x" * 251 + ".csv"
    code, _, err = command("--abstain-below", ".9", out=job.here / name[-250:])
    assert code in (0, 2), err
    assert not (job.here / "nowhere.csv").exists()


def test_a_full_disk_says_which_path_and_what_is_kept(command, job):
    save = scoring._save

    def full(path, top):
        if len(list(job.part.glob("*.npy"))) == 2:
            with scoring.atomic_write(path, replace=True):
                raise OSError(28, "No space left on device")
        save(path, top)

    with patch.object(scoring, "_save", full):
        code, _, err = command()
    assert code == 2 and err.count("\n") == 1
    assert f"{job.part}/000000-" in err and "No space left on device; finished predictions are kept; when the cause is removed, repeat the command" in err
    assert command()[0] == 0 and np.array_equal(labels_of(job.here / "out.csv"), job.labels)


# Names --------------------------------------------------------------------------------------------------------------


def test_names_of_files_in_a_table(job):
    odd = ["=1+1.csv", os.fsdecode(b"caf\xe9.csv"), "a\x1b[2J\n.csv", "@x.parquet", os.fsdecode(b"\xff.parquet")]
    for name in odd:
        shutil.copy(job.folder / ("1.csv" if name.endswith("csv") else "2.parquet"), job.folder / name)
    with predict_files(job.model, job.folder, job.part, size=SIZE) as results:
        path = write_predictions(results, job.here / os.fsdecode(b"\xe9.parquet"))
    table = pd.read_parquet(io.BytesIO(path.read_bytes()))
    shown = set(table.file.astype(str))
    assert shown == {"1.csv", "2.parquet", "'=1+1.csv", "caf\\xe9.csv", "a\\x1b[2J\\n.csv", "'@x.parquet", "\\xff.parquet"}
    assert len(table) == 7 * ROWS


def test_an_error_names_the_row_of_the_file(job):
    text = (job.folder / "1.csv").read_text().splitlines()
    text[50] = text[50].replace(",", ";", 1)
    (job.folder / "1.csv").write_text("\n".join(text))
    with pytest.raises(InputError, match="1.csv: line 51 "):
        predict(job)


# Streams ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["1.csv", "2.parquet"])
def test_a_stream_is_copied_and_resumed(name, job):
    path, n = job.folder / name, ROWS * (name == "2.parquet")

    def piped(content, executor):
        read, write = os.pipe()

        def send():
            with open(write, "wb") as f:
                f.write(content)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            return predict(job, executor, source=f"/dev/fd/{read}")
        finally:
            thread.join()
            os.close(read)

    with pytest.raises(KeyboardInterrupt):
        piped(path.read_bytes(), Stops(2, interrupt))
    assert [p.name for p in job.here.glob(".*")] == [job.part.name]
    counted = Stops(0, interrupt)
    assert np.array_equal(piped(path.read_bytes(), counted), job.labels[n : n + ROWS])
    assert 0 < counted.jobs < len(split_file(0, path, SIZE))
    with pytest.raises(InputError, match="^stdin: the file is empty; download it again$"):
        piped(b"", SerialExecutor())
    assert not job.part.exists() and cli.stream_number(path) is None


def test_a_wrong_image_is_counted_through_the_blocks(monkeypatch):
    "Its number in the message is its row in the chunk, also in the second block of rows."
    good = np.pad(np.full((3, 20, 20), 255, np.uint8), ((0, 0), (4, 4), (4, 4)))
    odd = np.where(np.arange(3)[:, None, None] == 1, 255 - good, good)
    monkeypatch.setattr(scoring, "read_chunk", lambda chunk: iter([good, odd]))
    monkeypatch.setattr(scoring, "predict", lambda net, x, check: np.eye(10, dtype=np.float32)[: len(x)])
    with pytest.raises(InputError, match=r"\b5\b"):
        list(scoring._predict_blocks(None, scoring.Chunk(0, scoring.Path("a.csv"), None, 1, 1)))
