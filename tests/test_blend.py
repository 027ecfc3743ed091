"""Answers of other programs: `compare` and `blend` as a user starts them, with good files and bad ones.

Two small networks are trained once, each by a command in a fresh process. What does not depend on that runs in this process.
"""
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from processes import run
from test_json import answer, fresh
from test_terminal import typed

from digit_recognizer.core.files import InputError, sha256
from digit_recognizer.data import load_digits, take_digits, with_corrections
from digit_recognizer.runs.folder import load_run
from digit_recognizer.runs.records import record_checksum
from digit_recognizer.runs.upload import _predicted_submission, prepare_upload

N = 3000  # labelled digits, and as many to predict


@pytest.fixture(scope="module")
def runs(csv_digits, tmp_path_factory):
    "The folders of two finished runs of different networks, which share their validation digits."
    here = tmp_path_factory.mktemp("runs")
    for name, change in (("one", "width=8"), ("two", "network=plain")):
        words = ["run", "--recipe", "tiny", "--data", csv_digits, "--set", "val=.4", "--set", "epochs=4", "--no-report", "--quiet"]
        told = run([*words, "--set", change, "--out", here / name])
        assert told.returncode == 0, told.stderr
    return here


@pytest.fixture(scope="module")
def files(runs, tmp_path_factory):
    "Files as other programs write them, by name."
    here, one, two = tmp_path_factory.mktemp("files"), load_run(runs / "one"), load_run(runs / "two")
    v, wide = two.validation, two.validation["proba"].astype(np.float64)
    shuffled, nan = np.random.default_rng(0).permutation(len(wide)), wide.copy()
    nan[5, 5] = np.nan
    arrays = {
        "rows": {"rows": v["rows"], "proba": wide},
        "order": {"proba": wide},
        "whole": {"rows": v["rows"], "proba": wide, "test": two.test},
        "held-out": {"test": two.test},
        "length": {"proba": wide[:77]},
        "twice": {"proba": np.full((N, 10), 0.1)},
        "nan": {"rows": v["rows"], "proba": nan},
        "sums": {"rows": v["rows"], "proba": wide * 2},
        "logits": {"rows": v["rows"], "proba": np.log(wide + 1e-9)},
        "shuffled": {"proba": wide[shuffled]},
        "from-1": {"rows": np.arange(1, N + 1), "proba": np.full((N, 10), 0.1)},
        "same-rows": {"rows": v["rows"] * 0, "proba": wide},
        "training-rows": {"rows": np.setdiff1d(np.arange(N), v["rows"])[:9], "proba": wide[:9]},
        "decimal-rows": {"rows": v["rows"] / 1.0, "proba": wide},
        "more-rows": {"rows": np.arange(N), "proba": wide},
        "other-labels": {"rows": v["rows"][::-1], "y": v["y"], "proba": wide},
        "short-test": {"test": two.test[1:]},
        "names": {"predictions": wide},
        "labels": {"test": two.test.argmax(1)},
        "objects": {"test": np.array([{}] * N, dtype=object)},
    }
    for name, content in arrays.items():
        np.savez(here / f"{name}.npz", **content)
    rows = [f"{i},{label}\n" for i, label in enumerate(two.test.argmax(1), 1)]
    texts = {"other.csv": "ImageId,Label\n" + "".join(rows), "short.csv": "ImageId,Label\n" + "".join(rows[1:][:9]), "length.csv": "ImageId,Label\n" + "".join(rows[:9])}
    texts |= {"header.csv": "id,digit\n" + "".join(rows), "decimal.csv": "ImageId,Label\n1,7.0\n", "empty.csv": "", "text.npz": "x", "notes.txt": "x"}
    for name, text in texts.items():
        (here / name).write_text(text)
    truth = take_digits(load_digits(), N).y_test
    (here / "truth.csv").write_text("ImageId,Label\n" + "".join(f"{i},{label}\n" for i, label in enumerate(truth, 1)))
    assert len(one.validation["rows"]) == len(wide) == 1200
    return here


@pytest.fixture(scope="module")
def blended(runs, tmp_path_factory):
    "A blend of the two runs, made in a fresh process: its folder and the answer."
    folder = tmp_path_factory.mktemp("blend") / "blend"
    return folder, fresh("blend", ["blend", runs / "one", runs / "two", "--out", folder])[0]


# compare -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows", "order", "whole"])
def test_probabilities_are_as_good_as_the_run_that_gave_them(name, runs, files):
    told = run(["compare", runs / "one", files / f"{name}.npz", "--json"])
    found = answer("compare", told.returncode, told.stdout)
    wanted = answer("compare", *typed("compare", runs / "one", runs / "two", "--json")[:2])
    for key in ("n", "only_a", "only_b", "both", "p_value", "better", "digits"):
        assert found[key] == wanted[key], key
    assert f"Fair only if the model behind {name}.npz did not learn from these digits." in found["remark"]
    assert ("validation.npz of one" in found["remark"]) is (name == "order")


def test_a_submission_is_compared_where_labels_are_known(runs, files):
    found, _ = fresh("compare", ["compare", files / "other.csv", runs / "one", "--labels", files / "truth.csv"])
    truth = np.loadtxt(files / "truth.csv", int, delimiter=",", skiprows=1)[:, 1]
    wrong_a, wrong_b = (load_run(runs / name).test.argmax(1) != truth for name in ("two", "one"))
    counts = [int(w.sum()) for w in (wrong_a & ~wrong_b, wrong_b & ~wrong_a, wrong_a & wrong_b)]
    assert [found[key] for key in ("only_a", "only_b", "both")] == counts and found["digits"] == "held out" and found["n"] == N
    code, out, err = typed("compare", files / "held-out.npz", runs / "one", "--labels", files / "truth.csv")
    assert code == 0 and not err and f"on {N:,} held-out digits" in " ".join(out.split()) and max(map(len, out.splitlines())) <= 80


def edited(run, folder, corrections, **data):
    "A copy of a kept run that was trained with other labels."
    shutil.copytree(run, folder)
    info, changed = json.loads((folder / "run.json").read_text()), with_corrections(load_digits(), corrections)
    for key in ("files", "checksum"):
        info.pop(key)
    info["data"] |= data
    if corrections:
        info["data"] |= {"corrections": {str(row): label for row, label in corrections.items()}, "fingerprint": changed.fingerprint}
    (folder / "run.json").write_text(json.dumps(info))
    v = dict(np.load(folder / "validation.npz"))
    np.savez_compressed(folder / "validation.npz", **{**v, "y": changed.y[v["rows"]]})
    return folder


def test_runs_that_did_not_learn_from_the_same(root, tmp_path):
    fast = root / "nbs/results/fast"
    rows = load_run(fast).validation["rows"][:3]
    y = load_digits().y
    corrected = edited(fast, tmp_path / "corrected", {int(row): int(y[row] + 1) % 10 for row in rows})
    told = run(["compare", fast, corrected])
    text = " ".join(told.stdout.split())
    assert told.returncode == 0 and "on 8,397 digits" in text and "did not learn from the same: corrections (none; 3 labels)." in text
    facts = load_run(fast).info
    pseudo = {"run": "other", "recipe": facts["recipe"], "sha256": "ab" * 32, "sure": 0.99, "digits": 20_000, "copies": 0,
              "per_class": [2000] * 10, "transductive": True, "rehearsal": True}  # fmt: skip
    more = edited(fast, tmp_path / "more", {}, pseudo=pseudo)
    code, out, _ = typed("compare", more, fast)
    assert code == 0 and "pseudo (digits 20,000, copies 0; none)." in " ".join(out.split())
    strange = edited(fast, tmp_path / "strange", {}, fingerprint="ab" * 32)
    code, out, err = typed("compare", strange, fast)
    assert (code, out, err.count("\n")) == (2, "", 1) and "was trained on other digits" in err


BAD = {
    "length.npz": "77 probabilities without rows; ",
    "twice.npz": "call the array test for the digits to predict",
    "nan.npz": "proba holds NaN (first in row 5)",
    "sums.npz": "sums to 2 ",
    "logits.npz": "logits need a softmax first",
    "shuffled.npz": "add the array rows",
    "from-1.npz": "rows has numbers from 1 to 3,000; expected 0 to 2,999",
    "same-rows.npz": "some rows occur twice",
    "training-rows.npz": "held out none",
    "decimal-rows.npz": "rows is float64",
    "more-rows.npz": "expected 1,200 integers",
    "other-labels.npz": "says another label",
    "short-test.npz": "test has 2,999 rows",
    "names.npz": "holds predictions; expected proba",
    "labels.npz": "expected probabilities (n, 10)",
    "objects.npz": "not arrays of numbers",
    "text.npz": "is not an .npz file",
    "length.csv": "9 labels, expected 3,000",
    "short.csv": "ids run from 1",
    "header.csv": "line 1",
    "decimal.csv": "has Label '7.0'",
    "empty.csv": "empty",
    "notes.txt": "is neither a run folder, nor a submission (.csv), nor probabilities (.npz)",
    "gone.npz": "no such file",
    "gone.csv": "no such file",
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("command", ["compare", "blend"])
def test_a_bad_file_is_told_in_one_line(command, name, runs, files, tmp_path):
    out = ["--out", tmp_path / "out"] if command == "blend" else []
    code, printed, err = typed(command, runs / "one", files / name, *out)
    assert (code, printed, err.count("\n")) == (2, "", 1), err
    assert err.startswith("error: ") and BAD[name] in err and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_bad_file_in_a_fresh_process(runs, files):
    told = run(["compare", runs / "one", files / "logits.npz"])
    assert (told.returncode, told.stdout, told.stderr.count("\n")) == (2, "", 1) and "softmax" in told.stderr


def test_labels_that_nobody_knows(runs, files):
    code, _, err = typed("compare", runs / "one", files / "other.csv")
    assert code == 2 and err.count("\n") == 1 and "give them with --labels" in err
    code, _, err = typed("compare", runs / "one", files / "other.csv", "--labels", files / "length.csv")
    assert code == 2 and err.count("\n") == 1 and "9 labels, expected 3,000" in err
    code, _, err = typed("compare", runs / "one", files / "other.csv", "--data", "embedded")
    assert code == 2 and err.count("\n") == 1 and "was made from other digits" in err
    code, _, err = typed("compare", files / "rows.npz", files / "other.csv")
    assert code == 2 and err.count("\n") == 1 and "one run folder at least" in err


# blend -------------------------------------------------------------------------------------------------------------


def test_a_blend_is_a_run_like_any_other(blended, runs, csv_digits, tmp_path):
    folder, found = blended
    one, made = load_run(runs / "one"), load_run(folder)
    assert (found["weights"], found["fitted_on"], found["held_out"]) == ("fitted", 1200, None)
    assert abs(sum(entry["weight"] for entry in found["entries"]) - 1) < 1e-9 and found["validation"] == made.info["scores"]["validation"]
    assert [entry["sha256"] for entry in found["entries"]] == [load_run(runs / name).info["checksum"] for name in ("one", "two")]
    assert made.info["training"]["epochs"] == len(made.curve) == 8 and found["verdict"]
    told = run(["verify", folder, "--data", csv_digits])
    assert told.returncode == 0 and "unknown" not in told.stdout, told.stdout
    assert {line.split(":")[0][11:] for line in told.stdout.splitlines()} >= {"blend", "blend.npz", "model", "network", "training", "split", "submission"}
    out = tmp_path / "out.csv"
    told = run(["predict", folder, csv_digits / "test.csv", "--out", out, "--quiet"])
    assert told.returncode == 0 and out.read_bytes() == (folder / "submission.csv").read_bytes()
    assert typed("check", folder / "submission.csv")[0] == 0
    assert typed("compare", folder, runs / "one")[0] == 0
    with pytest.raises(InputError, match="is a rehearsal"):
        prepare_upload(made)
    assert _predicted_submission(made) == (folder / "submission.csv").read_bytes()
    shutil.copytree(folder, tmp_path / "all" / "blend")
    shutil.copytree(one.folder, tmp_path / "all" / "one")
    code, text, _ = typed("runs", tmp_path / "all")
    assert code == 0 and "blend of 2" in text


def test_the_report_of_a_blend(blended, csv_digits, tmp_path):
    folder, found = blended
    told = run(["report", folder, "--data", csv_digits, "--out", tmp_path / "report.html"])
    assert told.returncode == 0, told.stderr
    page = (tmp_path / "report.html").read_text()
    assert f"one {found['entries'][0]['weight']:.3f}" in page and "fitted on other ones" in page
    assert "digit_recognizer blend one two --out OUT" in page and "Training curves" not in page


def test_read_with_a_blend(blended, root):
    code, out, _ = typed("read", root / "nbs/samples/sheet.png", "--run", blended[0], "--quiet")
    assert code == 0 and "digits" in out


def copy_of(folder, place, **changes):
    "A copy of a run with a changed record behind a new checksum."
    shutil.copytree(folder, place)
    info = json.loads((place / "run.json").read_text()) | changes
    info["checksum"] = record_checksum(info)
    (place / "run.json").write_text(json.dumps(info))
    return info


@pytest.mark.parametrize("what", ["weight", "fold", "temperature", "answers", "sum"])
def test_verify_finds_a_changed_blend(what, blended, csv_digits, tmp_path):
    folder, place = blended[0], tmp_path / "copy"
    about = json.loads((folder / "run.json").read_text())
    blend, temperature = about["blend"], about["temperature"]
    if what == "weight":
        for entry, weight in zip(blend["entries"], (0.9, 0.1)):
            entry["weight"] = weight
    if what == "sum":
        blend["entries"][0]["weight"] /= 2
    if what == "fold":
        blend["fold_weights"][2] = blend["fold_weights"][2][::-1]
        assert blend["fold_weights"][2][0] != blend["fold_weights"][2][1]
    info = copy_of(folder, place, blend=blend, temperature=2 * temperature if what == "temperature" else temperature)
    if what == "answers":
        kept = dict(np.load(place / "blend.npz"))
        np.savez_compressed(place / "blend.npz", **{**kept, "test": kept["test"][:, ::-1]})
        info["files"]["blend.npz"] = sha256(place / "blend.npz")
        (place / "run.json").write_text(json.dumps(info | {"checksum": record_checksum(info)}))
    code, out, _ = typed("verify", place, "--data", csv_digits)
    assert code == 2 and "CHANGED    blend:" in out, out


def test_a_blend_with_a_file(runs, files, tmp_path):
    folder = tmp_path / "blend"
    found, _ = fresh("blend", ["blend", runs / "one", files / "whole.npz", "--out", folder])
    assert (found["weights"], [entry["kind"] for entry in found["entries"]]) == ("fitted", ["run", "file"])
    made, both = load_run(folder), [load_run(runs / name) for name in ("one", "two")]
    weights = [entry["weight"] for entry in found["entries"]]
    assert made.test.argmax(1).tolist() == (weights[0] * both[0].test + weights[1] * both[1].test).argmax(1).tolist()
    told = run(["verify", folder])
    assert told.returncode == 0 and "model" not in told.stdout, told.stdout
    digits = files / "gone.csv"
    needs_model = {"predict": ["predict", folder, digits, "--out", tmp_path / "out.csv"], "read": ["read", files / "gone.png", "--run", folder]}
    needs_model |= {"export": ["export", folder], "web": ["export", folder, "--to", "web"]}
    (files / "gone.png").write_bytes(Path(__file__).parent.parent.joinpath("nbs/samples/sheet.png").read_bytes())
    for name, words in needs_model.items():
        code, _, err = typed(*words)
        assert code == 2 and err.count("\n") == 1 and "has no model, because a file of probabilities was blended into it" in err, (name, err)
    (files / "gone.png").unlink()
    assert not (tmp_path / "out.csv").exists()


def test_a_blend_with_answers_to_the_digits_to_predict_alone(runs, files, tmp_path):
    folder = tmp_path / "blend"
    code, out, err = typed("blend", runs / "one", files / "held-out.npz", "--out", folder)
    assert (code, err) == (0, "") and "weights     equal" in out and "validation  none: its entries share no" in out
    assert load_run(folder).info["scores"]["validation"] is None and not (folder / "validation.npz").exists()
    assert typed("verify", folder)[0] == 0 and typed("runs", tmp_path)[0] == 0
    for words in (["audit", folder, "--out", tmp_path / "a.csv"], ["compare", folder, runs / "one"], ["report", folder]):
        code, _, err = typed(*words)
        assert code == 2 and err.count("\n") == 1, err
    code, out, err = typed("blend", runs / "one", files / "held-out.npz", "--out", tmp_path / "given", "--weights", "3,1")
    assert code == 0 and "0.750" in out and "given by hand" in out


WRONG = {
    "one": (["one"], [], "1 entries"),
    "twice": (["one", "one"], [], "is given twice"),
    "words": (["one", "two"], ["--weights", "a,b"], "expected numbers"),
    "few": (["one", "two"], ["--weights", "1"], "1 weights for 2 entries"),
    "negative": (["one", "two"], ["--weights=-1,2"], "expected none below 0"),
    "nothing": (["one", "two"], ["--weights", "0,0"], "expected none below 0"),
    "infinite": (["one", "two"], ["--weights", "inf,1"], "expected none below 0"),
}


@pytest.mark.parametrize("names, more, said", WRONG.values(), ids=WRONG)
def test_what_cannot_be_blended(names, more, said, runs, tmp_path):
    code, out, err = typed("blend", *(runs / name for name in names), *more, "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1) and said in err
    assert not list(tmp_path.iterdir())


def test_labels_cannot_be_averaged_and_nothing_is_overwritten(runs, files, blended, tmp_path):
    code, _, err = typed("blend", runs / "one", files / "other.csv", "--out", tmp_path / "out")
    assert code == 2 and "holds labels, and only probabilities can be averaged" in err
    before = sha256(blended[0] / "run.json")
    code, _, err = typed("blend", runs / "one", runs / "two", "--out", blended[0])
    assert code == 2 and "already exists" in err and sha256(blended[0] / "run.json") == before


# What is as before ---------------------------------------------------------------------------------------------------


def test_the_default_path_leaves_the_same_records(runs, root):
    one = load_run(runs / "one")
    assert set(one.info) == {"format", "created", "recipe", "data", "split", "scores", "temperature", "training", "environment", "files", "checksum"}
    assert sorted(one.info["files"]) == ["curve.csv", "model.keras", "network.json", "submission.csv", "test.npz", "validation.npz"]
    assert "blend" not in typed("verify", one.folder)[1]
    found = answer("compare", *typed("compare", root / "nbs/results/classic-2-epochs", root / "nbs/results/fast", "--json")[:2])
    assert (found["n"], found["remark"], found["digits"]) == (8400, "", "validation")
    text = " ".join(typed("compare", root / "nbs/results/classic-2-epochs", root / "nbs/results/fast")[1].split())
    assert text == f"{found['verdict']} Accuracy of fast (seed 0) minus that of classic-2-epochs (seed 0): {100 * found['difference']:+.2f} points (95% interval {100 * found['low']:+.2f} to {100 * found['high']:+.2f}) on 8,400 digits; both misread {found['both']}."
