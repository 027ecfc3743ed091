"""`--json`: one object on standard output that fits its documented schema, and agrees with what is printed and written.

Each command runs in a fresh process once; what does not depend on that runs in this process.
"""
import csv
import json
import os
import shutil
import subprocess
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest
from jsonschema import Draft202012Validator
from processes import PROGRAM, run
from test_terminal import GOOD, ODD_NAMES, typed

from digit_recognizer.cli import summary_text
from digit_recognizer.runs.answers import ANSWERS
from digit_recognizer.runs.folder import load_run, pretrained_run

VALIDATORS = {name: Draft202012Validator(msgspec.json.schema(kind)) for name, kind in ANSWERS.items()}


def no_number(name):
    raise AssertionError(f"{name} is not JSON")


def answer(name, code, out):
    "The only object on standard output, checked against its schema."
    assert out.count("\n") == 1 and out.isascii(), out
    found = json.loads(out, parse_constant=no_number)
    VALIDATORS[name].validate(found)
    assert found["schema"] == f"digit_recognizer/{name}/1" and found["ok"] is (code == 0)
    return found


def fresh(name, words, code=0, **options):
    "The answer of a command in a process of its own, and its standard error."
    told = run([*words, "--json"], **options)
    assert told.returncode == code, told.stderr
    return answer(name, code, told.stdout), told.stderr


@pytest.fixture(scope="module")
def made(csv_digits, tmp_path_factory):
    "A tiny run of two members, made by `run --json`: its folder, its answer and its standard error."
    folder = tmp_path_factory.mktemp("json") / "run"
    words = ["run", "--recipe", "tiny", "--data", csv_digits, "--members", 2, "--set", "val=.5", "--set", "epochs=6", "--no-report", "--out", folder]
    return folder, *fresh("run", words)


@pytest.fixture(scope="module")
def few(csv_digits, tmp_path_factory):
    "Two hundred digits to predict, as CSV."
    path = tmp_path_factory.mktemp("few") / "test.csv"
    path.write_text("".join((csv_digits / "test.csv").read_text().splitlines(keepends=True)[:201]))
    return path


# Each command in a fresh process ------------------------------------------------------------------------------------


def test_run(made):
    folder, found, err = made
    made_run = load_run(folder)
    info = made_run.info
    assert (found["validation"], found["held_out"]) == (info["scores"]["validation"], None)
    assert all(info["training"][key] == value for key, value in found["training"].items() if value is not None)
    assert [member["seed"] for member in found["members"]] == [0, 1]
    assert (found["recipe"], found["rehearsal"], found["copies"]) == (info["recipe"], info["data"]["rehearsal"], info["data"].get("copies"))
    assert Path(found["folder"]) == folder and Path(found["submission"]).is_file() and found["report"] is None
    assert f"{found['validation']['errors']:,} errors on {found['validation']['n']:,} digits" in summary_text(made_run)
    assert "3,000 labelled" in err and "95%" not in err and "\r" not in err, err


def test_check(made, tmp_path):
    folder = made[0]
    file = folder / "submission.csv"
    found, err = fresh("check", ["check", file])
    assert (found["file"], found["rows"], found["problems"], found["more"], err) == (str(file), 3000, [], False, "")
    assert found["rehearsal"] is load_run(folder).info["data"]["rehearsal"]
    assert typed("check", file)[1].startswith(f"{file}: fine, 3,000 predictions")
    for lines, more in ((2, False), (500, True)):
        (tmp_path / "bad.csv").write_text("ImageId,Label\n" + "1,x\n" * lines)
        found, err = fresh("check", ["check", tmp_path / "bad.csv", "--rows", lines], 2)
        printed = [line.removeprefix(f"{tmp_path / 'bad.csv'}: ") for line in err.splitlines()]
        assert found["more"] is more and found["problems"] == printed[: len(printed) - more]
        assert (2, "", err) == typed("check", tmp_path / "bad.csv", "--rows", lines)
        assert found["rehearsal"] is None


def test_runs(root):
    found, err = fresh("runs", ["runs", root / "nbs/results"])
    assert [r["name"] for r in found["runs"]] == ["fast-seed-1", "fast", "classic-2-epochs"] and not err
    assert found["verdict"] == "fast-seed-1 is better than classic-2-epochs." and not found["errors"]


def test_compare(root):
    words = ["compare", root / "nbs/results/classic-2-epochs", root / "nbs/results/fast"]
    found, err = fresh("compare", words)
    code, out, _ = typed(*words)
    text = " ".join(out.split())
    assert (err, found["better"], code) == ("", "b", 0) and text.startswith(found["verdict"])
    points = [f"{100 * found[key]:+.2f}" for key in ("difference", "low", "high")]
    assert f"{points[0]} points (95% interval {points[1]} to {points[2]}) on {found['n']:,} digits; both misread {found['both']}" in text
    assert found["p_value"] < 0.05 and found["only_a"] > found["only_b"]


def test_verify(made, csv_digits):
    folder = made[0]
    found, err = fresh("verify", ["verify", folder])
    word = {True: "as it was", False: "CHANGED", None: "unknown"}
    lines = [f"{word[one['unchanged']]:<11}{one['what']}: {one['reason']}" for one in found["findings"]]
    assert (found["run"], err) == (str(folder), "") and typed("verify", folder)[1].splitlines() == lines
    assert {"run.json", "submission.csv"} <= {one["what"] for one in found["findings"]}


def test_predict(made, few, tmp_path):
    folder, out = made[0], tmp_path / "out.csv"
    found, err = fresh("predict", ["predict", folder, few, "--out", out, "--abstain-below", 0.9])
    review = (tmp_path / "out-review.csv").read_text().splitlines()
    assert (found["run"], found["out"], found["review"]) == (str(folder), str(out), str(tmp_path / "out-review.csv"))
    assert found["predictions"] == len(out.read_text().splitlines()) - 1 == 200
    assert 0 < found["abstained"] == len(review) - 1 < 200 and err == ""
    code, text, _ = typed("predict", folder, few, "--out", tmp_path / "again.csv", "--abstain-below", 0.9, "--quiet")
    lines = [f"{tmp_path / 'again.csv'}: 200 predictions", f"{tmp_path / 'again-review.csv'}: {found['abstained']} of them to be checked by a person"]
    assert code == 0 and text.splitlines()[:2] == lines and ("rehearsal" in text) is found["rehearsal"]
    code, text, err = typed("predict", folder, few, "--out", tmp_path / "third.csv", "--json")
    third = answer("predict", code, text)
    assert (third["abstained"], third["review"], err) == (None, None, "")


def test_read(root, tmp_path):
    sheet = root / "nbs/samples/sheet.png"
    (tmp_path / "notes.txt").write_text("not a picture")
    shutil.copy(sheet, tmp_path / "copy.png")
    words = ["read", sheet, tmp_path / "gone.png", tmp_path, "--csv", tmp_path / "digits.csv"]
    found, err = fresh("read", words, 2)
    assert [picture["file"] for picture in found["files"]] == [str(sheet), str(tmp_path / "copy.png")]
    assert found["csv"] == str(tmp_path / "digits.csv")
    assert found["errors"] == [line.removeprefix("error: ") for line in err.splitlines() if line.startswith("error: ")]
    assert found["left_out"] == [err.splitlines()[0]] and "notes.txt" in err
    digits = [(picture["file"], digit) for picture in found["files"] for line in picture["lines"] for digit in line["digits"]]
    with open(tmp_path / "digits.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for (name, digit), row in zip(digits, rows, strict=True):
        assert (name, str(digit["digit"]), f"{digit['confidence']:.4f}") == (row["file"], row["digit"], row["confidence"])
        assert [str(edge) for edge in digit["box"]] == [row[edge] for edge in ("left", "top", "right", "bottom")]
        assert ((digit["doubt"] or ""), bool(digit["point"])) == (row["doubt"], row["point"] == "1")
    text = typed("read", sheet, "--quiet")[1]
    assert f"{sheet}: {len(digits) // 2} free digits" in text
    assert [line["text"] for line in found["files"][0]["lines"]] == sheet.with_suffix(".txt").read_text().split()


# Failures -----------------------------------------------------------------------------------------------------------

WRONG = {
    "a missing file": ["check", "gone.csv"],
    "an unknown option": ["verify", "x", "--fast"],
    "a missing argument": ["compare", "x"],
    "no run": ["compare", "x", "y"],
    "a wrong recipe": ["run", "--recipe", "slow"],
    "no digits": ["run", "--data", "gone"],
    "nothing to resume": ["run", "--resume", "gone"],
    "no model": ["predict", "gone", "gone.csv", "--out", "out.csv"],
    "a name with an escape": ["verify", "two\nlines\x1b[2J"],
}


@pytest.mark.parametrize("words", WRONG.values(), ids=WRONG)
def test_an_error_is_the_same_on_both_streams(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = typed(*words, "--json")
    found = answer("error", code, out)
    assert (code, found["command"]) == (2, words[0]) and typed(*words) == (2, "", err)
    assert err.startswith("error: ") and err.count("\n") == 1
    if found["error"].isprintable():
        assert err == f"error: {found['error']}\n"
    assert not list(tmp_path.iterdir())


def test_only_pictures_that_cannot_be_read(tmp_path):
    code, out, err = typed("read", tmp_path / "gone.png", "--json")
    found = answer("read", code, out)
    assert (code, found["files"], err) == (2, [], f"error: {found['errors'][0]}\n")


def test_a_failure_in_a_fresh_process(tmp_path):
    found, err = fresh("error", ["check", tmp_path / "gone.csv"], 2)
    assert err == f"error: {found['error']}\n" and found["error"].endswith("gone.csv: no such file")


def test_an_interrupted_command_answers_nothing(root):
    with patch("digit_recognizer.runs.entries.load_run", side_effect=KeyboardInterrupt):
        assert typed("compare", "x", "y", "--json") == (130, "", "interrupted\n")


def test_the_word_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("--json").write_text(GOOD)
    assert typed("check", "--rows", 1, "--", "--json") == (0, "--json: fine, 1 predictions\n", "")
    assert typed("check", "--json", "--help") == typed("check", "--help")
    assert typed("sweep", "--json")[1] == ""  # a command that has no such option


# Streams ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ODD_NAMES, "数字 ×.csv", '"quoted" \\ <b>.csv'])
def test_names_come_back_as_they_are(name, tmp_path):
    (tmp_path / name).write_text(GOOD)
    code, out, err = typed("check", tmp_path / name, "--rows", 1, "--json")
    found = answer("check", code, out)
    assert (os.fsencode(found["file"]), err) == (os.fsencode(tmp_path / name), "")


def test_a_name_in_an_encoding_that_lacks_it(tmp_path):
    path = os.fsencode(tmp_path) + "/数字 caf".encode() + b"\xe9.csv"
    Path(os.fsdecode(path)).write_text(GOOD)
    told = subprocess.run([*PROGRAM, "check", path, "--rows", "1", "--json"], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert os.fsencode(json.loads(told.stdout)["file"]) == path and (told.returncode, told.stderr) == (0, b"")


@pytest.mark.parametrize("words, code", [(["check", "bad.csv"], 2), (["compare", "x", "y"], 2), (["check", "good.csv", "--rows", "1"], 0)])
def test_a_reader_that_stops_early(words, code, tmp_path):
    (tmp_path / "good.csv").write_text(GOOD)
    (tmp_path / "bad.csv").write_text("ImageId,Label\n" + "1,x\n" * 5000)
    shell = '"$@" --json 2>/dev/null | (exec 0<&-; sleep .1); echo ${PIPESTATUS[0]}'
    told = subprocess.run(["bash", "-c", shell, "bash", *PROGRAM, *words], capture_output=True, text=True, cwd=tmp_path)
    assert (told.stdout, told.stderr) == (f"{code}\n", "")


def test_a_full_disk(tmp_path):
    (tmp_path / "good.csv").write_text(GOOD)
    shell = '"$@" check good.csv --rows 1 --json > /dev/full'
    told = subprocess.run(["bash", "-c", shell, "bash", *PROGRAM], capture_output=True, text=True, cwd=tmp_path)
    assert (told.returncode, told.stderr) == (2, "error: standard output: No space left on device\n")


def test_quiet_is_silent(root, few, tmp_path):
    model = pretrained_run().folder
    for words in (["read", root / "nbs/samples/sheet.png"], ["predict", model, few, "--out", tmp_path / "out.csv"]):
        code, out, err = typed(*words, "--quiet", "--json")
        assert (code, err) == (0, "") and answer(words[0], code, out)


# The schemas --------------------------------------------------------------------------------------------------------


def test_the_schemas_refuse_what_is_wrong():
    for name, validator in VALIDATORS.items():
        validator.check_schema(validator.schema)
        assert not validator.is_valid({"schema": f"digit_recognizer/{name}/1"}) and not validator.is_valid({"ok": True})
    error = {"schema": "digit_recognizer/error/1", "ok": False, "command": "read", "error": "x"}
    assert VALIDATORS["error"].is_valid(error) and not VALIDATORS["read"].is_valid(error)
    assert VALIDATORS["error"].is_valid({**error, "a later key": 1}) and not VALIDATORS["error"].is_valid({**error, "ok": "no"})


def test_every_key_is_explained(root):
    "JSON Schema repeats the docments, which are the documentation."
    for name, validator in VALIDATORS.items():
        for title, part in validator.schema["$defs"].items():
            if title.endswith("Answer"):
                assert part["description"], (name, title)
