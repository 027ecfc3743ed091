"""Groups of digits (`--groups`) as a user starts them: nobody on both sides, intervals by group, bad input, resuming, verifying."""
import json
import shutil

import numpy as np
import pytest

from digit_recognizer.core.groups import cluster_interval, group_folds, group_split, shared_groups, to_groups
from digit_recognizer.data import load_digits
from digit_recognizer.preprocess import split
from digit_recognizer.runs.folder import load_run
from processes import checkpoints, run, start, wait_for

WORDS = ["run", "--quiet", "--no-report", "--recipe", "tiny", "--set", "epochs=2"]


@pytest.fixture(scope="module")
def home(csv_digits, tmp_path_factory):
    "A folder of Kaggle's files with a column of writers, thirty digits each, and the same writers as a CSV in another order."
    folder = tmp_path_factory.mktemp("groups")
    data = folder / "data"
    shutil.copytree(csv_digits, data)
    lines = (data / "train.csv").read_text().splitlines()
    writers = [f"w{i // 30}" for i in range(len(lines) - 1)]
    (data / "train.csv").write_text("\n".join(f"{line},{name}" for line, name in zip(lines, ["writer", *writers])) + "\n")
    order = np.random.default_rng(0).permutation(len(writers))
    (folder / "writers.csv").write_text("row,writer\n" + "".join(f"{i},{writers[i]}\n" for i in order))
    told = run([*WORDS, "--data", data, "--groups", "writer", "--out", folder / "column"])
    assert told.returncode == 0, told.stderr
    return folder, data, csv_digits, writers, told


def test_no_writer_on_both_sides(home):
    folder, data, plain, writers, told = home
    one, groups = load_run(folder / "column"), to_groups(writers, len(writers))
    rows = one.validation["rows"]
    train = np.setdiff1d(np.arange(len(writers)), rows)
    assert not len(shared_groups(groups, train, rows)) and set(one.group) == {writers[row] for row in rows}
    assert one.info["data"]["groups"]["kind"] == "writer" and one.info["data"]["groups"]["column"] == "writer"
    by = one.info["scores"]["validation"]["by_group"]
    right = one.validation["proba"].argmax(1) == one.validation["y"]
    assert (by["low"], by["high"]) == cluster_interval(right, one.group)
    assert f"by group: {by['low']:.2%} to {by['high']:.2%} ({by['groups']} groups)" in told.stdout


def test_a_csv_gives_the_same_run(home):
    folder, data, plain, writers, _ = home
    told = run([*WORDS, "--data", plain, "--groups", folder / "writers.csv", "--out", folder / "csv"])
    assert told.returncode == 0, told.stderr
    a, b = load_run(folder / "column"), load_run(folder / "csv")
    assert np.array_equal(a.validation["rows"], b.validation["rows"]) and np.array_equal(a.validation["proba"], b.validation["proba"])
    assert a.info["data"]["groups"]["sha256"] == b.info["data"]["groups"]["sha256"]


def test_members_keep_groups_apart(home):
    folder, data, plain, writers, _ = home
    told = run([*WORDS, "--data", data, "--groups", "writer", "--members", "2", "--out", folder / "members"])
    assert told.returncode == 0, told.stderr
    groups, seen = to_groups(writers, len(writers)), []
    for i in range(2):
        rows = load_run(folder / f"members/members/{i}").validation["rows"]
        assert not len(shared_groups(groups, np.setdiff1d(np.arange(len(writers)), rows), rows))
        seen.append(rows)
    assert not np.intersect1d(*seen).size and not set(groups.code[seen[0]]) & set(groups.code[seen[1]])
    told = run(["verify", folder / "members", "--data", data])
    assert told.returncode == 0 and "CHANGED" not in told.stdout, told.stdout + told.stderr


def test_verify_reads_the_groups_again(home):
    folder, data, plain, writers, _ = home
    told = run(["verify", folder / "column", "--data", data])
    assert told.returncode == 0 and "groups: 100 of kind writer, as they were" in " ".join(told.stdout.split()), told.stdout
    other = folder / "moved"
    shutil.copytree(plain, other, dirs_exist_ok=True)
    told = run(["verify", folder / "column", "--data", other])
    assert "CHANGED" not in told.stdout and "cannot be read here, or have changed" in " ".join(told.stdout.split()), told.stdout


def test_report_and_compare(home):
    folder, data, plain, writers, _ = home
    told = run(["report", folder / "column", "--data", data])
    assert told.returncode == 0, told.stderr
    text = (folder / "column/report.html").read_text(encoding="utf-8")
    assert "<h2>Groups</h2>" in text and "Half of the" in text and "--groups writer" in text
    told = run([*WORDS, "--data", plain, "--out", folder / "plain"])
    assert told.returncode == 0, told.stderr
    told = run(["compare", folder / "plain", folder / "column"])
    assert "groups (writer), not the digits" in " ".join(told.stdout.split()), told.stdout + told.stderr
    answer = json.loads(run(["compare", folder / "plain", folder / "column", "--json"]).stdout)
    assert answer["groups"] > 0 and answer["low"] <= answer["difference"] <= answer["high"]


def test_an_interrupted_run_keeps_its_groups(home):
    folder, data, plain, writers, _ = home
    words = ["run", "--quiet", "--no-report", "--recipe", "tiny", "--set", "epochs=6", "--data", plain]
    process = start([*words, "--groups", folder / "writers.csv", "--out", folder / "killed"])
    wait_for("a checkpoint", lambda: checkpoints(folder / "killed"), process)
    process.kill()
    process.wait()
    kept = (folder / "writers.csv").read_text()
    (folder / "writers.csv").write_text(kept.replace("w0\n", "w1\n"))
    told = run(["run", "--quiet", "--no-report", "--resume", folder / "killed"])
    assert told.returncode == 2 and "groups have changed" in " ".join(told.stderr.split()), told.stderr
    (folder / "writers.csv").write_text(kept)
    told = run(["run", "--quiet", "--no-report", "--resume", folder / "killed"])
    assert told.returncode == 0, told.stderr
    assert load_run(folder / "killed").group is not None


def test_bad_groups_say_what_helps(home, tmp_path):
    folder, data, plain, writers, _ = home
    n = len(writers)
    cases = {"school": "has no column 'school' for groups; the columns beside label and pixels are writer"}
    for name, text, said in (
        ("one.csv", "writer\n" + "ann\n" * n, "all digits are of one group, 'ann'"),
        ("all.csv", "writer\n" + "".join(f"{i}\n" for i in range(n)), "is a group of its own"),
        ("short.csv", "writer\nann\nbob\n", f"2 groups for {n:,} labelled digits"),
        ("hole.csv", "writer\nann\n \n" + "bob\n" * (n - 2), "row 1 has no group"),
        ("large.csv", "writer\n" + "ann\n" * (n // 2) + "".join(f"{i // 9}\n" for i in range(n - n // 2)), "'ann' has 50% of the digits"),
        ("few.csv", "writer\n" + "".join(f"{i % 3}\n" for i in range(n)), "3 of kind 'writer' for 5 folds"),
        ("missing.csv", None, "no such file"),
    ):
        if text is not None: (tmp_path / name).write_text(text)
        cases[tmp_path / name] = said
    for groups, said in cases.items():
        told = run([*WORDS, "--data", data if groups == "school" else plain, "--groups", groups, "--out", tmp_path / "out"])
        assert told.returncode == 2 and said in " ".join(told.stderr.split()), (groups, told.stderr)
        assert "Traceback" not in told.stderr and not (tmp_path / "out").exists()


def test_seeds_give_other_folds_of_even_size():
    rng = np.random.default_rng(0)
    groups = to_groups(rng.integers(0, 60, 6000), 6000)
    y = rng.integers(0, 10, 6000)
    found = [group_folds(y, groups, 5, seed) for seed in range(3)]
    assert not np.array_equal(found[0][0][1], found[1][0][1])
    for folds in found:
        sizes = np.array([np.bincount(y[val], minlength=10) for _, val in folds])
        assert abs(sizes.sum(1) - 1200).max() < 120 and abs(sizes - 120).max() < 45
    assert np.array_equal(split(y, .2, 1, True, groups)[1], group_split(y, groups, .2, 1)[1])


def test_real_writers(shared):
    "The writers of MNIST: none on both sides, and all 42,000 digits stay in the folds."
    from digit_recognizer.core.mnist import KAGGLE_LABELLED, permute_mnist

    with np.load(shared / "data/writers.npz") as file: writer = np.concatenate([file["writer_train"], file["writer_test"]])
    digits = load_digits()
    groups = to_groups(writer[permute_mnist()[:KAGGLE_LABELLED]], KAGGLE_LABELLED, kind="writer")
    mixed = shared_groups(groups, *split(digits.y))
    apart = shared_groups(groups, *split(digits.y, groups=groups))
    assert len(mixed) > 800 and not len(apart)
