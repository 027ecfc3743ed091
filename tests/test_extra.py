"""Digits for training alone (`--extra`, `--pseudo`) and training without validation (`val=0`), as a user starts them.

The default path must stay as it was; interrupted runs must end with the same bits; what has changed meanwhile is refused.
"""
import json
import shutil
import subprocess
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from digit_recognizer.core.files import InputError
from digit_recognizer.core.recipe import RECIPES, make_recipe
from digit_recognizer.core.tables import PIXELS, write_csv
from digit_recognizer.data import load_digits
from digit_recognizer.runs.extra import count_seen, with_extra, with_pseudo
from digit_recognizer.runs.folder import create_run, load_run, read_plan, recipe_score, reload_digits
from processes import CLOCK, assert_same_run, checkpoints, run, start, wait_for
from test_terminal import typed

WORDS = ["run", "--quiet", "--no-report", "--recipe", "tiny"]


def write(path, x, y):
    "Labelled digits as CSV."
    write_csv(path, ["label", *PIXELS], np.column_stack([y, x.reshape(-1, 784)]))
    return path


@pytest.fixture(scope="module")
def home(csv_digits, tmp_path_factory):
    "A folder with 900 more digits as CSV and as a folder, and a run on the digits of `csv_digits`."
    folder, digits = tmp_path_factory.mktemp("extra"), load_digits()
    more = write(folder / "more.csv", digits.x[2950:3900], digits.y[2950:3900])
    (folder / "kept").mkdir()
    write(folder / "kept/train.csv", digits.x[4000:4100], digits.y[4000:4100])
    (folder / "kept/test.csv").write_text("not read")
    told = run([*WORDS, "--data", csv_digits, "--set", "epochs=4", "--out", folder / "base"])
    assert told.returncode == 0, told.stderr
    extra = ["--extra", more, "--extra", folder / "kept", "--pseudo", folder / "base", "--sure", 0.8]
    return SimpleNamespace(folder=folder, data=csv_digits, base=load_run(folder / "base"), more=more, extra=extra)


# The default path ---------------------------------------------------------------------------------------------------


def test_the_default_run_is_unchanged(home, tmp_path):
    "Without extra digits, the network learns the training rows alone, in their order, and no record speaks of extra digits."
    from digit_recognizer.preprocess import split
    from digit_recognizer.train import fit

    digits, recipe, info = load_digits(home.data), make_recipe("tiny", {"epochs": 4}), home.base.info
    train, val = split(digits.y, recipe.val, recipe.seed)
    fitted = fit(recipe, digits.x[train], digits.y[train], digits.x[val], digits.y[val], progress=False)
    assert all(np.array_equal(a, b) for a, b in zip(fitted.model.get_weights(), home.base.model.get_weights(), strict=True))
    columns = fitted.curve.columns.difference(CLOCK)
    assert np.allclose(fitted.curve[columns], home.base.curve[columns], rtol=1e-5)
    assert list(info) == ["format", "created", "recipe", "data", "split", "scores", "temperature", "training", "environment", "files", "checksum"]
    assert list(info["data"]) == ["source", "fingerprint", "rehearsal", "labelled", "held_out", "copies", "corrections"]
    assert (info["split"], list(info["scores"])) == ({"train": 2400, "validation": 600}, ["validation", "held_out"])
    plan = json.loads((create_run(tmp_path / "run", digits, recipe.record()) / "plan.json").read_text())
    assert list(plan) == ["format", "recipe", "members", "whole", "source", "corrections", "fingerprint", "settings", "strategy"]


# Extra digits and pseudo-labels -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[1, 2], ids=["one network", "two members"])
def whole(request, home):
    "A run with everything that can be added, of one network or of two members, which nobody disturbs."
    words = [*WORDS, "--data", home.data, "--set", "epochs=3", "--members", request.param, *home.extra]
    out = home.folder / f"whole-{request.param}"
    told = run([*words, "--out", out])
    assert told.returncode == 0, told.stderr
    return SimpleNamespace(words=words, members=request.param, told=told, run=load_run(out))


@pytest.mark.slow
def test_what_is_recorded(whole, home):
    data, (first, second) = whole.run.info["data"], whole.run.info["data"]["extra"]
    assert data["fingerprint"] == home.base.info["data"]["fingerprint"]
    assert (first["source"], first["digits"], first["copies"]) == (str(home.more), 900, 50)
    assert (second["source"], second["digits"], second["copies"]) == (str(home.folder / "kept"), 100, 0)
    sure = int((home.base.test.max(1) >= 0.8).sum())
    pseudo = data["pseudo"]
    assert (pseudo["run"], pseudo["recipe"], pseudo["sure"]) == ("base", home.base.info["recipe"], 0.8)
    assert pseudo["transductive"] and pseudo["digits"] + pseudo["copies"] == sure and sum(pseudo["per_class"]) == pseudo["digits"]
    assert pseudo["sha256"] == home.base.info["files"]["test.npz"]
    assert "test.csv is ignored" in whole.told.stderr
    assert "a score on them is not about unseen digits" in " ".join(whole.told.stdout.split())
    seen = whole.run.info["split"]["seen_by_pseudo"]
    assert (seen > 0) is (whole.members > 1) is ("trained on" in whole.told.stderr)
    if whole.members > 1:
        assert all(load_run(whole.run.folder / f"members/{i}").info["data"] == data for i in range(2))
    else:
        assert np.array_equal(whole.run.validation["rows"], home.base.validation["rows"])


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(whole, tmp_path):
    out = tmp_path / "killed"
    process = start([*whole.words, "--out", out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for("a checkpoint", lambda: checkpoints(out), process)
    process.kill()
    process.wait()
    assert {"extra", "pseudo"} <= read_plan(out).keys()
    told = run(["run", "--quiet", "--no-report", "--resume", out])
    assert told.returncode == 0, told.stderr
    assert_same_run(load_run(out), whole.run)
    again, first = (dict(r.info["data"]) for r in (load_run(out), whole.run))
    assert again == first


@pytest.mark.slow
def test_verify_reads_it_all_again(whole, home):
    told = run(["verify", whole.run.folder, "--data", home.data])
    assert told.returncode == 0 and "CHANGED" not in told.stdout, told.stdout
    assert told.stdout.count("extra digits: ") == 2 and "base: the answers that were learnt" in told.stdout


def test_changed_digits_are_refused(home, tmp_path):
    "A planned run whose extra file or whose other run has changed, or is gone, says so and is left unchanged."
    shutil.copytree(home.base.folder, tmp_path / "other")
    more = shutil.copy(home.more, tmp_path / "more.csv")
    digits = with_pseudo(with_extra(load_digits(home.data), more), load_run(tmp_path / "other"), 0.8)
    out = create_run(tmp_path / "planned", digits, asdict(RECIPES["tiny"]))
    plan = {key: read_plan(out)[key] for key in ("source", "corrections", "fingerprint", "extra", "pseudo")}
    assert [len(e.x) for e in reload_digits(**plan).extra] == [len(e.x) for e in digits.extra]
    lines = (tmp_path / "more.csv").read_text().splitlines(keepends=True)
    for change, message in (
        (lambda: (tmp_path / "more.csv").write_text("".join(lines[:-1])), "the extra digits have changed since they were read first"),
        ((tmp_path / "more.csv").unlink, "more.csv: no such file"),
        (lambda: (tmp_path / "more.csv").write_text("".join(lines)) and shutil.rmtree(tmp_path / "other"), "other: no such folder"),
    ):
        change()
        before = {p.name: p.read_bytes() for p in out.iterdir()}
        code, _, err = typed("run", "--resume", out)
        assert (code, err.count("\n")) == (2, 1) and message in err and str(out) in err, err
        assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    shutil.copytree(home.base.folder, tmp_path / "other")
    info = json.loads((tmp_path / "other/run.json").read_text())
    np.savez_compressed(tmp_path / "other/test.npz", proba=home.base.test[:, ::-1])
    (tmp_path / "other/run.json").write_text(json.dumps({**info, "files": {}}))
    assert "the answers of" in typed("run", "--resume", out)[2]


def test_other_extra_digits_do_not_resume_a_run(home, tmp_path):
    from digit_recognizer.core.jobs import SerialExecutor
    from digit_recognizer.runs.ensemble import resume_run

    digits = with_extra(load_digits(home.data), home.more)
    out = create_run(tmp_path / "planned", digits, asdict(RECIPES["tiny"]))
    with pytest.raises(InputError, match="was begun with other extra digits or pseudo-labels"):
        resume_run(out, False, load_digits(home.data), SerialExecutor())


def test_labels_come_from_answers_alone(home):
    "Pseudo-labels are the run's answers, also where they are wrong, and never pictures of validation digits."
    digits = load_digits(home.data)
    extra = with_pseudo(digits, home.base, 0.8).extra[-1]
    rows = np.flatnonzero(home.base.test.max(1) >= 0.8)
    assert {image.tobytes() for image in extra.x} <= {image.tobytes() for image in digits.x_test[rows]}
    assert not {image.tobytes() for image in extra.x} & {image.tobytes() for image in digits.x}
    assert np.array_equal(extra.y, home.base.test[rows].argmax(1)) and (extra.y != load_digits().y_test[rows]).any()
    assert count_seen(with_pseudo(digits, home.base), home.base.validation["rows"]) == 0
    assert count_seen(digits, home.base.validation["rows"]) is None


BAD = {
    "--sure alone": (["--sure", 0.9], "--sure belongs to --pseudo RUN"),
    "--sure above 1": (["--pseudo", "base", "--sure", 1.1], "--sure: 1.1 is not a confidence"),
    "--sure below a half": (["--pseudo", "base", "--sure", 0.3], "expected 0.5 to 1"),
    "--sure that is not a number": (["--pseudo", "base", "--sure", "nan"], "--sure: nan is not a confidence"),
    "no run": (["--pseudo", "gone"], "gone: no such folder"),
    "a run that is not finished": (["--pseudo", "half"], "half: is not finished"),
    "a run of other digits": (["--data", "embedded", "--pseudo", "base"], "was made with other digits"),
    "no answer that sure": (["--pseudo", "base", "--sure", 1], "no answer is 1 sure"),
    "no extra file": (["--extra", "gone.csv"], "gone.csv: no such file"),
    "a folder without train.csv": (["--extra", "half"], "half: has no train.csv"),
    "unlabelled digits": (["--extra", "DATA/test.csv"], "test.csv: has no label column"),
    "nothing new": (["--extra", "DATA"], "all 3,000 digits are exact copies of digits of this run"),
    "the same twice": (["--extra", "more.csv", "--extra", "more.csv"], "all 950 digits are exact copies"),
    "--resume": (["--resume", "half", "--extra", "more.csv"], "--resume takes everything from the run's folder"),
    "weights of the best epoch": (["--set", "val=0", "--set", "weights=best"], "val=0: weights=best needs validation digits"),
    "a plateau": (["--recipe", "classic", "--set", "val=0"], "val=0: schedule=plateau needs validation digits"),
    "members": (["--set", "val=0", "--members", 2], "val=0 leaves no digits for the folds"),
    "all for validation": (["--set", "val=1"], "val=1.0 is outside 0 to"),
}


@pytest.mark.parametrize("words, message", BAD.values(), ids=BAD)
def test_bad_input_ends_in_one_line(words, message, home, monkeypatch):
    monkeypatch.chdir(home.folder)
    if not (home.folder / "half").exists():
        create_run(home.folder / "half", load_digits(home.data), asdict(RECIPES["tiny"]))
    before = sorted(home.folder.iterdir())
    given = ["run", *([] if "--data" in words or "--resume" in words else ["--data", home.data]), *words]
    code, _, err = typed(*(str(word).replace("DATA", str(home.data)) for word in given))
    assert (code, err.count("\n")) == (2, 1) and err.startswith("error: ") and message in err, err
    assert sorted(home.folder.iterdir()) == before


# Without validation -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unscored(home):
    "A run that learnt from all labelled digits, beside the one that held some out: the run, its answer, standard error."
    out = home.folder / "all"
    told = run(["run", "--quiet", "--recipe", "tiny", "--data", home.data, "--set", "val=0", "--set", "epochs=4", "--json", "--out", out])
    assert told.returncode == 0, told.stderr
    return SimpleNamespace(run=load_run(out), answer=json.loads(told.stdout), err=told.stderr)


def test_a_run_without_validation(unscored, home):
    info = unscored.run.info
    assert info["scores"]["validation"] is None and unscored.answer["validation"] is None and info["temperature"] == 1
    assert info["split"] == {"train": 3000, "validation": 0} and not (unscored.run.folder / "validation.npz").exists()
    assert not {"val_loss", "val_accuracy"} & set(unscored.run.curve)
    assert "no validation" in repr(unscored.run) and "none: all labelled digits were trained on" in unscored.run._repr_html_()
    name, score = recipe_score(unscored.run)
    assert (name, score) == ("base", home.base.info["scores"]["validation"])


def test_validation_does_not_change_the_training(home):
    "The same rows give the same weights, with validation digits or without."
    from digit_recognizer.train import fit

    digits = load_digits(home.data)
    x, y, recipe = digits.x[:600], digits.y[:600], replace(RECIPES["tiny"], epochs=2)
    judged, alone = fit(recipe, x, y, digits.x[600:800], digits.y[600:800], False), fit(recipe, x, y, None, None, False)
    assert all(np.array_equal(a, b) for a, b in zip(judged.model.get_weights(), alone.model.get_weights(), strict=True))
    assert "validation none" in repr(alone) and "none" in alone._repr_html_()
    for x_val, y_val in ((digits.x[:9], None), (None, digits.y[:9])):
        with pytest.raises(InputError, match="fit: validation"):
            fit(recipe, x, y, x_val, y_val, False)
    with pytest.raises(InputError, match="fit without x_val and y_val: weights=best needs validation digits"):
        fit(replace(recipe, weights="best"), x, y, None, None, False)


def test_an_estimator_without_validation(home):
    from digit_recognizer.estimator import DigitClassifier

    digits = load_digits(home.data)
    model = DigitClassifier("tiny", val=0.0, epochs=8).fit(digits.x[:1000], digits.y[:1000])
    assert model.score(digits.x[1000:1200], digits.y[1000:1200]) > 0.5 and "val_loss" not in model.curve_


def test_all_that_reads_a_run_copes(unscored, home, tmp_path, monkeypatch):
    monkeypatch.chdir(home.folder)
    refused = "all: has no validation digits"
    for words in (["compare", "base", "all"], ["compare", "all", "base"], ["audit", "all", "--data", home.data, "--out", tmp_path / "audit.csv"]):
        code, _, err = typed(*words)
        assert (code, err.count("\n")) == (2, 1) and refused in err, err
    code, out, err = typed("runs", ".")
    assert (code, err) == (0, "") and out.index("\nall\n") > out.index("base\n") and "no score: it has no validation digits" in out
    found = json.loads(typed("runs", ".", "--json")[1])
    assert [r["validation"] is None for r in found["runs"]][-1] and found["runs"][-1]["name"] == "all"
    code, out, _ = typed("verify", "all", "--data", home.data)
    assert code == 0 and "score: none, as all labelled digits were trained on" in out, out
    page = (unscored.run.folder / "report.html").read_text()
    assert "What is left out" in page and "Its recipe read" in page and "Confusion matrix" not in page
    assert typed("predict", "all", home.data / "test.csv", "--out", tmp_path / "p.csv", "--abstain-below", 0.9, "--quiet")[0] == 0
    assert typed("export", "all", "--to", "web")[0] == 0
    assert "none: no labelled digit was held out" in (unscored.run.folder / "page.html").read_text()


def test_only_runs_without_a_score(unscored, tmp_path):
    shutil.copytree(unscored.run.folder, tmp_path / "runs/all")
    code, out, err = typed("runs", tmp_path / "runs")
    assert (code, err) == (0, "") and "No run has a score" in out
    assert recipe_score(load_run(tmp_path / "runs/all")) is None


def test_a_run_that_claims_no_score_in_vain(home, tmp_path):
    "Removing a bad score from the record is noticed."
    folder = shutil.copytree(home.base.folder, tmp_path / "run")
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**info, "scores": {**info["scores"], "validation": None}}))
    code, out, _ = typed("verify", folder, "--data", home.data)
    assert code == 2 and "CHANGED    score: none" in out and "CHANGED    run.json" in out, out


def test_a_sweep_needs_validation():
    from digit_recognizer.runs.sweep import grid

    with pytest.raises(InputError, match="sweep: val=0 leaves no validation digits to compare by"):
        grid(["tiny"], {"val": ["0", ".2"]})
    assert make_recipe("tiny", {"val": "0"}).val == 0
