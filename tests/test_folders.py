"""Broken run folders, by generated mutation: each is read rightly or refused in one line, and `verify` notices each change.

A good folder is made once, from the pretrained model and 600 digits, without a training. An example copies it, mutates a
value of its JSON, bytes, arrays, its curve or its files, and uses it as the readers of the package do. Half of the
examples have no checksums, as in the first version, so that what is behind them is tried too.
"""
import json
import os
import shutil
import zipfile
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from digit_recognizer.analysis.compare import compare
from digit_recognizer.core.files import InputError
from digit_recognizer.core.tables import PIXELS, write_csv
from digit_recognizer.data import load_embedded, take_digits
from digit_recognizer.runs.export import small_model
from digit_recognizer.runs.folder import load_run, pretrained_run, read_plan, save_run
from digit_recognizer.runs.verify import verify
from digit_recognizer.submit import write_submission
from processes import no_hang, run

FOLDERS, PLANS = 300, 100  # how many are broken
CURVE = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds", "cpu_seconds"]
DESKTOP = (".DS_Store", "Thumbs.db", "desktop.ini", "._run.json", "._validation.npz")


@pytest.fixture(scope="session")
def digits():
    return take_digits(load_embedded(), 600)


@pytest.fixture(scope="session")
def good(digits, tmp_path_factory):
    "A run folder as the pipeline writes it."
    from digit_recognizer.core.predict import predict
    from digit_recognizer.preprocess import split
    from digit_recognizer.core.recipe import Recipe
    from digit_recognizer.runs.pipeline import run_info

    pretrained, folder = pretrained_run(), tmp_path_factory.mktemp("good")
    train, rows = split(digits.y, 0.2, 0)
    proba, test = (predict(pretrained.model, x) for x in (digits.x[rows], digits.x_test))
    curve = pd.DataFrame({name: np.arange(1, 11) / (1 if name == "epoch" else 20) for name in CURVE}).astype({"epoch": int})
    cost = {"epochs": 10, "kept_epoch": 10, "parameters": pretrained.model.count_params(), "seconds": 2.8, "cpu_seconds": 2.8}
    recipe = Recipe(**{**pretrained.info["recipe"], "epochs": 10, "teachers": 0})
    info = run_info(digits, recipe, {"train": len(train), "validation": len(rows)}, rows, proba, test)
    info |= {"temperature": pretrained.info["temperature"], "training": cost | {"images_per_second": 1714}}
    write_submission(test.argmax(1), folder / "submission.csv")
    return save_run(folder, pretrained.model, curve, dict(rows=rows, y=digits.y[rows], proba=proba), test, info)


@pytest.fixture(scope="session")
def several(digits, tmp_path_factory):
    "The folder of a run of two members, which all have the pretrained network."
    from digit_recognizer.core.predict import predict
    from digit_recognizer.core.recipe import Recipe
    from digit_recognizer.runs.ensemble import _members_info, fold_rows, out_of_fold
    from digit_recognizer.runs.pipeline import run_info

    pretrained, folder = pretrained_run(), tmp_path_factory.mktemp("several")
    recipe = Recipe(**{**pretrained.info["recipe"], "val": 0.5, "epochs": 2, "teachers": 0})
    test = predict(pretrained.model, digits.x_test)
    row = {"epoch": [1, 2], **{name: [0.5, 0.5] for name in CURVE[1:]}}
    cost = {"epochs": 2, "kept_epoch": 2, "parameters": pretrained.model.count_params(), "seconds": 1.0, "cpu_seconds": 1.0, "images_per_second": 600}

    def write(out, recipe, split, rows, proba, curve, **sections):
        out.mkdir(parents=True, exist_ok=True)
        write_submission(test.argmax(1), out / "submission.csv")
        info = run_info(digits, recipe, split, rows, proba, test, **sections)
        return save_run(out, pretrained.model, pd.DataFrame(curve), dict(rows=rows, y=digits.y[rows], proba=proba), test, info)

    members = []
    for i in range(2):
        train, rows = fold_rows(digits.y, recipe, i)
        sections = {"temperature": pretrained.info["temperature"], "training": cost}
        proba = predict(pretrained.model, digits.x[rows])
        members.append(write(folder / "members" / str(i), replace(recipe, seed=i), {"train": len(train), "validation": len(rows)}, rows, proba, row, **sections))
    v, curve = out_of_fold([m.validation for m in members]), pd.concat({i: pd.DataFrame(row) for i in range(2)}, names=["member"]).reset_index("member")
    return write(folder, recipe, {"folds": 2, "out_of_fold": len(v["rows"])}, v["rows"], v["proba"], curve, **_members_info(members))


# What a reader does with a folder


def readers(run, good, digits, drawn):
    "What the commands do with a run, all but its model; also with figures?"
    from digit_recognizer.analysis import report
    from digit_recognizer.runs.export import describe_model, fastest_file
    from digit_recognizer.runs.upload import prepare_upload
    slow = {
        "confusion": lambda: report._confusion_section(run),
        "calibration": lambda: report._calibration_section(run),
        "risk": lambda: report._risk_section(run),
        "curves": lambda: report._curves_section(run),
    }
    quick = {
        "repr": lambda: repr(run),
        "curve": lambda: run.curve,
        "validation": lambda: run.validation,
        "test": lambda: run.test,
        "compare": lambda: str(compare(run, good)),
        "verify": lambda: list(map(str, without_model(verify, run, digits))),
        "command": lambda: report.command_for(run),
        "heading": lambda: report._heading_values(run.info),
        "facts": lambda: report._reproduction_values(run),
        "score": lambda: report._score_section(run),
        "thresholds": lambda: report._thresholds_section(run),
        "describe": lambda: json.dumps(describe_model(run)),
        "file": lambda: fastest_file(run),
        "upload": lambda: prepare_upload(run, rehearsal=True),
    }
    return quick | (slow if drawn else {})


def without_model(verify, run, digits):
    "The findings of `verify`, without loading the model, which costs a second."
    from unittest.mock import patch

    def refuse(*_):
        raise InputError("not loaded here")

    with patch("digit_recognizer.runs.folder.load_model", refuse):
        return list(verify(run, digits))


def use(folder, good, digits, drawn=True):
    "Use a folder in every way: the errors of each reader. Anything but `InputError` is raised, with the reader's name."
    errors = {}
    with no_hang():
        try:
            run = load_run(folder)
        except InputError as e:
            return {"load_run": str(e)}
        for name, read in readers(run, good, digits, drawn).items():
            try:
                read()
            except InputError as e:
                errors[name] = str(e)
            except Exception as e:
                raise AssertionError(f"{name}: {type(e).__name__}: {e}") from e
    return errors


def check_values(run):
    "Arrays that are given away hold what they must."
    for proba in values(run, "validation", "proba"), values(run, "test"):
        if proba is not None:
            assert proba.dtype == np.float32 and proba.ndim == 2 and proba.shape[1] == 10 and len(proba)
            assert np.isfinite(proba).all() and (proba >= 0).all() and np.allclose(proba.sum(1), 1, atol=1e-3)
    rows, y = values(run, "validation", "rows"), values(run, "validation", "y")
    if rows is not None:
        assert len(rows) == len(np.unique(rows)) == len(y) == run.info["scores"]["validation"]["n"]
        assert 0 <= rows.min() and rows.max() < run.info["data"]["labelled"] and 0 <= y.min() and y.max() <= 9
    curve = values(run, "curve")
    if curve is not None:
        assert list(curve) == CURVE and len(curve) and np.isfinite(curve.to_numpy()).all()


def values(run, name, key=None):
    "An array of a run; None where it is refused."
    try:
        found = getattr(run, name)
    except InputError:
        return None
    return found if key is None else found[key]


# Mutations


def places(value, place=()):
    "All paths of a JSON value, but its own."
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from places(inner, (*place, key))


NESTED = {"a": {"a": {"a": [[[1]]]}}}
OTHER = (None, "", "text", "\x1b[31m\n", -1, 0, 1, 10**30, 10**400, 1.5, -1e308, True, [], {}, [1, 2], [None], {"x": 1}, NESTED, "NaN", "\ud800", "9" * 5000)


@st.composite
def json_mutation(draw, facts):
    "Another text for a JSON file."
    copy = json.loads(json.dumps(facts))
    place = draw(st.sampled_from(list(places(copy))))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    if draw(st.integers(0, 3)) == 0:
        del inner[place[-1]]
    else:
        inner[place[-1]] = draw(st.sampled_from(OTHER) | st.integers(-10, 10) | st.text(max_size=3))
    text = json.dumps(copy)
    kind = draw(st.integers(0, 20))
    if kind == 0:
        text = text.replace(": 0", draw(st.sampled_from((": NaN", ": Infinity", ": 1e999", ": -0", ": " + "[" * 50_000))), 1)
    elif kind == 1:
        text = draw(st.sampled_from(("[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, "null", "[]", '"text"', "", "\ufeff" + text, text * 2)))
    return text.encode("utf-8", "surrogatepass")


@st.composite
def byte_mutation(draw, content, others):
    "Other bytes for a file."
    kind, at = draw(st.integers(0, 4)), draw(st.integers(0, max(len(content) - 1, 0)))
    if kind == 0:
        return content[:at]
    if kind == 1 and content:
        return content[:at] + bytes([content[at] ^ draw(st.integers(1, 255))]) + content[at + 1 :]
    if kind == 2:
        return content[:at] + draw(st.binary(max_size=9)) + content[at:]
    if kind == 3:
        return draw(st.sampled_from((b"", b"\0", b"\xff\xfe\0\0", b"PK\x05\x06" + bytes(18), b"text")))
    return draw(st.sampled_from(others))


def make_node(path, kind):
    "Put something else in a file's place."
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to("gone")
    elif kind == "loop":
        path.symlink_to(path.name)


ARRAY_CHANGES = {
    "object": lambda a: a.astype(object),
    "complex": lambda a: a.astype(complex),
    "text": lambda a: a.astype(str),
    "bool": lambda a: a.astype(bool),
    "dates": lambda a: a.astype("int64").astype("datetime64[s]"),
    "records": lambda a: np.zeros(len(a), [("a", "f4"), ("b", "i4")]),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "half": lambda a: a.astype(np.float16),
    "double": lambda a: a.astype(np.float64),
    "signed": lambda a: a.astype(np.int64),
    "column-major": lambda a: np.asfortranarray(a),
    "flat": lambda a: a.ravel(),
    "transposed": lambda a: a.T,
    "no rows": lambda a: a[:0],
    "a row less": lambda a: a[:-1],
    "a row more": lambda a: np.concatenate([a, a[:1]]),
    "one number": lambda a: a.ravel()[0],
    "deep": lambda a: a[(None,) * 20],
    "reversed": lambda a: a[::-1],
    "doubled": lambda a: a * 2,
    "negative": lambda a: -a.astype(np.float64 if a.dtype.kind == "f" else np.int64),
    "huge": lambda a: a + 1e30 if a.dtype.kind == "f" else a.astype(np.int64) + 10**9,
    "the same": lambda a: a * 0 + a[0],
    "not numbers": lambda a: a / 0.0 * 0,
    "infinite": lambda a: a + np.inf,
}


def forge_array(path, name, how):
    "Replace an array by bytes that no array has."
    with zipfile.ZipFile(path) as z:
        members = {info.filename: z.read(info) for info in z.infolist()}
    raw = members[f"{name}.npy"]
    head = {"huge": (50 * 2**40, 10), "negative": (-1, 10), "endless": (10**400, 10), "small": (1,)}.get(how)
    if head:
        from io import BytesIO

        file = BytesIO()
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": head})
        members[f"{name}.npy"] = file.getvalue() + raw[-40:]
    elif how == "missing":
        del members[f"{name}.npy"]
    elif how == "header":
        members[f"{name}.npy"] = raw[:8] + b"\xff\xff" + b"(" * 70_000
    elif how == "version":
        members[f"{name}.npy"] = raw[:6] + b"\x09\x09" + raw[8:]
    elif how == "bomb":
        members[f"{name}.npy"] = raw[:128] + bytes(5_000_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for key, content in members.items():
            z.writestr(key, content)
        if how == "twice":
            import warnings

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                z.writestr(f"{name}.npy", raw)


CURVE_CHANGES = {
    "no rows": lambda t: t.iloc[:0],
    "no column": lambda t: t.drop(columns="val_loss"),
    "another name": lambda t: t.rename(columns={"lr": "rate"}),
    "another order": lambda t: t[CURVE[::-1]],
    "a column more": lambda t: t.assign(more=1),
    "a column twice": lambda t: pd.concat([t, t.loss], axis=1),
    "text": lambda t: t.astype({"loss": object}).assign(loss=["a", *t.loss[1:]]),
    "empty": lambda t: t.assign(accuracy=np.nan),
    "infinite": lambda t: t.assign(accuracy=np.inf),
    "yes and no": lambda t: t.assign(accuracy=True),
    "huge": lambda t: t.astype({"epoch": object}).assign(epoch=10**30),
    "halves": lambda t: t.assign(epoch=t.epoch + 0.5),
}


@st.composite
def mutation(draw, facts, contents):
    "A change of a run folder: its kind, and a function of the folder."
    kind = draw(st.sampled_from(("json", "json", "json", "bytes", "node", "array", "array", "forged", "curve")))
    name = draw(st.sampled_from(sorted(contents)))
    array = draw(st.sampled_from((("validation.npz", "rows"), ("validation.npz", "y"), ("validation.npz", "proba"), ("test.npz", "proba"))))
    if kind == "json":
        text = draw(json_mutation(facts))
        return "json", lambda folder: (folder / "run.json").write_bytes(text)
    if kind == "bytes":
        content = draw(byte_mutation(contents[name], list(contents.values())))
        return f"bytes of {name}", lambda folder: (folder / name).write_bytes(content)
    if kind == "node":
        node = draw(st.sampled_from(("nothing", "folder", "fifo", "dangling", "loop")))
        return f"{name} is {node}", lambda folder: make_node(folder / name, node)
    if kind == "array":
        how = draw(st.sampled_from(sorted(ARRAY_CHANGES)))
        return f"{array} {how}", lambda folder: change_array(folder / array[0], array[1], ARRAY_CHANGES[how])
    if kind == "forged":
        how = draw(st.sampled_from(("huge", "negative", "endless", "small", "missing", "header", "version", "bomb", "twice")))
        return f"{array} {how}", lambda folder: forge_array(folder / array[0], array[1], how)
    how = draw(st.sampled_from(sorted(CURVE_CHANGES)))
    return f"curve {how}", lambda folder: CURVE_CHANGES[how](pd.read_csv(folder / "curve.csv")).to_csv(folder / "curve.csv", index=False)


def change_array(path, name, change):
    "Write an array of a file otherwise."
    with np.load(path) as z:
        arrays = dict(z)
    with np.errstate(all="ignore"):
        arrays[name] = change(arrays[name])
    np.savez(path, allow_pickle=True, **arrays)


def edit_facts(folder, change):
    "Change what run.json says."
    facts = json.loads((folder / "run.json").read_text())
    change(facts)
    (folder / "run.json").write_text(json.dumps(facts))


def drop_checksums(folder):
    "Make a folder as the first version wrote it."

    def change(facts):
        facts.pop("checksum", None)
        facts.pop("files")
        facts["environment"]["digit_recognizer"] = "0.1.0"

    edit_facts(folder, change)


def content_of(folder):
    "What a folder holds: JSON as values, other files as bytes; None for what is not a file."
    found = {p.name: p.read_bytes() if p.is_file() else None for p in folder.iterdir()}
    try:
        facts = json.loads(found["run.json"])
        found["run.json"] = {key: value for key, value in facts.items() if key != "submissions"}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        found["run.json"] = None
    return found


@pytest.mark.filterwarnings("ignore")
def test_broken_folders(good, digits, tmp_path):
    "No traceback, no hang, nothing wrong given away, and no change that `verify` does not find."
    contents, counts = {p.name: p.read_bytes() for p in good.folder.iterdir()}, Counter()
    facts, folder = json.loads(contents["run.json"]), tmp_path / "broken"

    @settings(max_examples=FOLDERS, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(mutation(facts, contents), st.booleans())
    def check(change, old):
        what, do = change
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good.folder, folder)
        if old:
            drop_checksums(folder)
        before = content_of(folder)
        do(folder)
        errors = use(folder, good, digits, drawn=old)
        counts["refused" if errors.keys() - {"upload"} else "read"] += 1 # 600 answers are never sent
        for reader, message in errors.items():
            assert len(message) < 2000 and (str(folder) in message or reader in ("compare", "upload", "calibration", "thresholds")), (what, reader, message)
        if "load_run" in errors:
            return
        run = load_run(folder)
        check_values(run)
        if not old and content_of(folder) != before:
            assert any(f.fine is False for f in without_model(verify, run, digits)), f"{what}: verify found nothing"

    check()
    assert counts["read"] and counts["refused"], counts


def test_broken_runs_of_several_members(several, digits, tmp_path):
    "A change of the record, or of what a member is, ends in no traceback either, and is found."
    facts, folder = several.info, tmp_path / "broken"
    assert not [f for f in without_model(verify, load_run(several.folder), digits) if f.fine is False]

    @settings(max_examples=PLANS, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from((".", "members/0", "members/1")), st.data())
    def check(where, data):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(several.folder, folder)
        target = folder / where
        before = content_of(target)
        if data.draw(st.booleans()):
            (target / "run.json").write_bytes(data.draw(json_mutation(facts if where == "." else json.loads((target / "run.json").read_text()))))
        else:
            names = sorted(p.name for p in target.iterdir() if p.is_file())
            make_node(target / data.draw(st.sampled_from(names)), data.draw(st.sampled_from(("nothing", "folder", "fifo", "dangling"))))
        if "load_run" not in use(folder, several, digits, drawn=False) and content_of(target) != before:
            assert any(f.fine is False for f in without_model(verify, load_run(folder), digits)), where

    check()


def test_what_desktops_leave_between_members_does_no_harm(several, digits, tmp_path):
    folder = shutil.copytree(several.folder, tmp_path / "run")
    for name in DESKTOP:
        (folder / "members" / name).write_bytes(b"\0")
        (folder / "members" / "0" / name).write_bytes(b"\0")
    assert not [f for f in without_model(verify, load_run(folder), digits) if f.fine is False]


def test_verify_finds_members_that_were_exchanged(several, digits, tmp_path):
    folder = shutil.copytree(several.folder, tmp_path / "run")
    members = folder / "members"
    for old, new in (("0", "2"), ("1", "0"), ("2", "1")):
        (members / old).rename(members / new)
    assert {f.what for f in without_model(verify, load_run(folder), digits) if f.fine is False} == {"member 0, fold", "member 1, fold"}


# What verify must find in run.json, computed again or by the checksum


EDITS = {
    "held-out errors": (("scores", "held_out", "errors"), 0, "held-out score"),
    "validation accuracy": (("scores", "validation", "accuracy"), 0.9999, "score"),
    "validation interval": (("scores", "validation", "low"), 0.99, "score"),
    "seed": (("recipe", "seed"), 7, "split"),
    "val": (("recipe", "val"), 0.1, "split"),
    "recipe's epochs": (("recipe", "epochs"), 3, "training"),
    "epochs": (("training", "epochs"), 3, "training"),
    "kept epoch": (("training", "kept_epoch"), 3, "training"),
    "time": (("training", "seconds"), 1.0, "training"),
    "split": (("split", "validation"), 3, "split"),
    "rehearsal": (("data", "rehearsal"), False, "digits"),
    "temperature": (("temperature",), 1.0, "network"),
    "parameters": (("training", "parameters"), 3, "network"),
    "network": (("recipe", "network"), "plain", "network"),
    "width": (("recipe", "width"), 17, "network"),
    "views": (("recipe", "views"), 5, "network"),
    "learning rate": (("recipe", "lr"), 0.5, "run.json"),
    "time of the run": (("created",), "2020-01-01T00:00:00+00:00", "run.json"),
    "processor": (("environment", "processor"), "an abacus", "run.json"),
}


def edited(good, folder, place, value):
    "A copy of the good folder with another value in run.json."

    def change(facts):
        for key in place[:-1]:
            facts = facts[key]
        facts[place[-1]] = value

    edit_facts(shutil.copytree(good.folder, folder), change)
    return folder


@pytest.mark.parametrize("name", EDITS)
def test_verify_finds_edits_of_the_record(name, good, digits, tmp_path):
    place, value, what = EDITS[name]
    folder = edited(good, tmp_path / "edited", place, value)
    run = load_run(folder)
    findings = list(verify(run, digits)) if what == "network" else without_model(verify, run, digits)
    assert what in {f.what for f in findings if f.fine is False}, list(map(str, findings))
    assert "run.json" in {f.what for f in findings if f.fine is False}


@pytest.mark.parametrize("name", [name for name, (_, _, what) in EDITS.items() if what not in ("run.json", "network")])
def test_verify_computes_again_what_older_versions_wrote(name, good, digits, tmp_path):
    place, value, what = EDITS[name]
    folder = edited(good, tmp_path / "edited", place, value)
    drop_checksums(folder)
    findings = without_model(verify, load_run(folder), digits)
    assert {f.what for f in findings if f.fine is False} == {what}, list(map(str, findings))
    assert next(f for f in findings if f.what == "run.json").fine is None


def test_verify_of_an_unchanged_run(good, digits):
    findings = list(verify(good, digits))
    assert all(f.fine for f in findings), list(map(str, findings))
    assert not [f for f in verify(good) if f.fine is False]


def test_a_model_that_cannot_be_loaded_is_not_changed(good, digits):
    findings = {f.what: f for f in without_model(verify, load_run(good.folder), digits)}
    assert findings["network"].fine is None and "cannot be checked here, because" in findings["network"].words
    assert findings["model"].fine, "numpy predicts without Keras"
    assert not [f for f in findings.values() if f.fine is False]


def test_a_changed_file_is_not_loaded(good, tmp_path):
    folder = tmp_path / "changed"
    shutil.copytree(good.folder, folder)
    for name in ("model.keras", "network.json", "curve.csv", "validation.npz", "test.npz"):
        with open(folder / name, "ab") as f:
            f.write(b"\0")
    for name in ("model", "curve", "validation", "test"):
        with pytest.raises(InputError, match="checksum|has changed"):
            getattr(load_run(folder), name)
    with pytest.raises(InputError, match="has changed"):
        small_model(load_run(folder))


def test_what_desktops_leave_does_no_harm(good, digits, tmp_path):
    folder = shutil.copytree(good.folder, tmp_path / "run")
    for name in DESKTOP:
        (folder / name).write_bytes(b"\0\1\2")
    (folder / "members").mkdir()
    (folder / "members" / ".DS_Store").write_bytes(b"")
    assert use(folder, good, digits).keys() == use(good.folder, good, digits).keys()
    assert not [f for f in without_model(verify, load_run(folder), digits) if f.fine is False]


def test_an_edited_seed_is_found_behind_a_new_checksum(good, digits, tmp_path):
    "The record says whether rows were given, so other rows than the recipe's are a change."
    from digit_recognizer.runs.records import record_checksum
    folder = edited(good, tmp_path / "edited", ("recipe", "seed"), 7)
    edit_facts(folder, lambda facts: facts.update(checksum=record_checksum(facts)))
    assert [f.what for f in without_model(verify, load_run(folder), digits) if f.fine is False] == ["split"]


def test_a_member_of_an_older_version_is_the_same_in_another_place(several, digits, tmp_path):
    for i in range(2):
        folder = shutil.copytree(several.folder / "members" / str(i), tmp_path / str(i))
        drop_checksums(folder)
        assert not [f for f in without_model(verify, load_run(folder), digits) if f.fine is False]


def test_a_member_has_the_data_of_its_ensemble(several, digits, tmp_path):
    from digit_recognizer.runs.records import record_checksum
    folder = shutil.copytree(several.folder, tmp_path / "run")
    edit_facts(folder / "members" / "1", lambda facts: facts["data"].update(rehearsal=False))
    edit_facts(folder / "members" / "1", lambda facts: facts.update(checksum=record_checksum(facts)))
    assert [f.what for f in without_model(verify, load_run(folder), digits) if f.fine is False] == ["member 1, fold"]


# Plans


def test_broken_plans(good, digits, tmp_path):
    from digit_recognizer.runs.folder import create_run

    folder = create_run(tmp_path / "planned", replace(digits, corrections={3: 8}), asdict_of(good))
    plan = json.loads((folder / "plan.json").read_text())

    @settings(max_examples=PLANS, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(json_mutation(plan))
    def check(text):
        (folder / "plan.json").write_bytes(text)
        with no_hang():
            try:
                read = read_plan(folder)
            except InputError as e:
                assert str(folder) in str(e)
                return
        assert isinstance(read["recipe"], dict) and read["members"] >= 1 and isinstance(read["strategy"], dict)
        assert all(isinstance(row, int) and 0 <= label <= 9 for row, label in read["corrections"].items())

    check()
    for kind in ("folder", "fifo", "dangling"):
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "plan.json").touch()
        make_node(folder / "plan.json", kind)
        with no_hang(), pytest.raises(InputError):
            read_plan(folder)


def asdict_of(run):
    from digit_recognizer.core.recipe import Recipe

    return asdict(Recipe(**run.info["recipe"]))


# The commands


BROKEN = {
    "data is null": ("run.json", lambda folder: edit_facts(folder, lambda facts: facts.update(data=None))),
    "deep JSON": ("run.json", lambda folder: (folder / "run.json").write_text("[" * 100_000)),
    "errors as text": ("run.json", lambda folder: edit_facts(folder, lambda facts: facts["scores"]["validation"].update(errors="3"))),
    "an empty curve": ("curve.csv", lambda folder: (folder / "curve.csv").write_bytes(b"")),
    "a y that is shorter": ("validation.npz", lambda folder: change_array(folder / "validation.npz", "y", ARRAY_CHANGES["a row less"])),
    "364 TiB": ("validation.npz", lambda folder: forge_array(folder / "validation.npz", "proba", "huge")),
    "a FIFO": ("validation.npz", lambda folder: make_node(folder / "validation.npz", "fifo")),
    "a folder": ("run.json", lambda folder: make_node(folder / "run.json", "folder")),
}
READERS = {  # file -> commands that cannot do their work without it
    "run.json": {"verify", "compare", "report", "predict", "submit", "export", "read", "audit", "runs"},
    "curve.csv": {"verify", "report"},
    "validation.npz": {"verify", "compare", "report", "audit", "runs"},
}
COMMANDS = {
    "verify": ["verify", "RUN"],
    "compare": ["compare", "RUN", "GOOD"],
    "runs": ["runs", "FOLDER"],
    "report": ["report", "RUN", "--out", "NEW.html"],
    "predict": ["predict", "RUN", "DIGITS.csv", "--out", "NEW.csv", "--quiet"],
    "submit": ["submit", "RUN", "-m", "a message"],
    "check": ["check", "RUN/submission.csv"],
    "export": ["export", "RUN", "--to", "unknown"],
    "read": ["read", "SHEET.png", "--run", "RUN"],
    "resume": ["run", "--resume", "RUN"],
    "audit": ["audit", "RUN", "--out", "NEW.csv"],
}


@pytest.mark.parametrize("old", [False, True], ids=["checksums", "no checksums"])
@pytest.mark.parametrize("name", BROKEN)
def test_commands_refuse_broken_folders(name, old, good, root, tmp_path):
    from digit_recognizer.cli import app

    folder = shutil.copytree(good.folder, tmp_path / "run")
    if old:
        drop_checksums(folder)
    file, break_it = BROKEN[name]
    break_it(folder)
    write_csv(tmp_path / "digits.csv", PIXELS, load_embedded().x_test[:2].reshape(-1, 784))
    paths = {"NEW.csv": tmp_path / "new.csv", "NEW.html": tmp_path / "new.html", "DIGITS.csv": tmp_path / "digits.csv", "SHEET.png": root / "nbs/samples/sheet.png"}
    swap = {"RUN": folder, "FOLDER": tmp_path, "GOOD": good.folder, "RUN/submission.csv": folder / "submission.csv", **paths}
    for command, words in COMMANDS.items():
        with no_hang():
            done = CliRunner().invoke(app, [str(swap.get(word, word)) for word in words], standalone_mode=False)
        found = done.return_value  # an exit code, or an answer, from which the exit code follows
        refused = isinstance(done.exception, InputError) or found == 2 or getattr(found, "ok", True) is False
        assert "Usage:" not in done.output and (refused or done.exception is None), (command, repr(done.exception))
        assert refused or command not in READERS[file], f"{command} took a run whose {file} is broken: {done.output}"
        for path in (paths["NEW.csv"], paths["NEW.html"]):
            path.unlink(missing_ok=True)


def test_a_broken_folder_from_a_fresh_process(good, tmp_path):
    "One line and exit code 2."
    folder = shutil.copytree(good.folder, tmp_path / "run")
    BROKEN["data is null"][1](folder)
    told = run(["verify", folder])
    assert told.returncode == 2 and told.stderr.startswith("error: ") and told.stderr.count("\n") == 1, told.stderr
    assert "$.data" in told.stderr
