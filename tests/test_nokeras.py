"""What needs no TensorFlow: the commands in fresh processes in which TensorFlow, Keras and more are as if not installed,
and in processes in which to import them is an error."""
import base64
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from processes import run as command

from digit_recognizer.core.network import pack, parse_network, unpack
from digit_recognizer.data import load_embedded
from digit_recognizer.runs.export import checksums
from digit_recognizer.runs.folder import pretrained_run

READER = pretrained_run().folder
HIDDEN = ("tensorflow", "keras", "h5py", "plotly", "cufflinks", "sklearn", "jinja2")  # what a small install leaves out
ABSENT = """from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = classmethod(lambda cls, name, path=None, target=None: None if name.split('.')[0] in {hidden} else find(name, path, target))
"""
LOUD = """import sys
class Loud:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split('.')[0] in {hidden}: raise AssertionError(f'{{name}} is imported')
sys.meta_path.insert(0, Loud)
"""


def customized(folder, text, hidden):
    "The environment of a process that begins with a text of Python."
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(text.format(hidden=tuple(hidden)))
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"env": {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}}


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    "Options of a process on a machine with the small install, without LiteRT."
    return customized(tmp_path_factory.mktemp("small") / "site", ABSENT, (*HIDDEN, "ai_edge_litert"))


@pytest.fixture(scope="session")
def loud(tmp_path_factory):
    "Options of a process in which TensorFlow is installed, but must not be imported."
    return customized(tmp_path_factory.mktemp("loud") / "site", LOUD, ("tensorflow", "keras"))


@pytest.fixture(params=["small", "loud"])
def options(request):
    return request.getfixturevalue(request.param)


def fine(told):
    "Standard output of a command that ended well, without a word on standard error."
    assert (told.returncode, told.stderr) == (0, ""), told.stderr
    return told.stdout


def refused(told):
    "The one line in which a command says what is missing."
    assert (told.returncode, told.stderr.count("\n")) == (2, 1), told.stderr
    return told.stderr


def test_read(options, root):
    out = fine(command(["read", root / "nbs/samples/sheet.png", "--quiet"], **options))
    digits = "".join(line for line in out.splitlines()[1:] if "." not in line)
    assert "".join(digits.split()) == "".join((root / "nbs/samples/sheet.txt").read_text().split())


def test_predict_and_check(small, csv_digits, tmp_path):
    out = tmp_path / "out.csv"
    fine(command(["predict", READER, csv_digits / "test.csv", "--out", out, "--quiet"], **small))
    labels, y = pd.read_csv(out).Label.to_numpy(), load_embedded().y_test[:3000]
    assert (labels != y).sum() < 30
    assert "fine, 3,000 predictions" in fine(command(["check", out, "--rows", 3000], **small))


def test_predict_by_litert(loud, csv_digits, tmp_path):
    pytest.importorskip("ai_edge_litert")
    folder = shutil.copytree(READER, tmp_path / "run")
    fine(command(["export", folder]))
    fine(command(["predict", folder, csv_digits / "test.csv", "--out", tmp_path / "out.csv", "--quiet"], **loud))
    assert (pd.read_csv(tmp_path / "out.csv").Label.to_numpy() != load_embedded().y_test[:3000]).sum() < 30
    again = fine(command(["export", folder], **loud))
    assert "there already" in again


def test_export_csv_and_compare(options, root, tmp_path):
    assert "test.csv (28,000)" in fine(command(["export-csv", tmp_path / "digits"], **options))
    results = root / "nbs" / "results"
    assert "fast (seed 0) is better: of the " in fine(command(["compare", results / "fast", results / "classic-2-epochs"], **options))
    assert "fast-seed-1 is better than classic-2-epochs." in fine(command(["runs", results], **options))


def test_verify_says_what_was_not_checked(small, tmp_path):
    lines = fine(command(["verify", READER], **small)).splitlines()
    kinds = {line[11:].split(":")[0]: line[:11].strip() for line in lines}
    assert kinds["model.keras"] == kinds["network.json"] == kinds["run.json"] == kinds["digits"] == "as it was"
    assert "CHANGED" not in kinds.values()
    assert any(line.startswith("unknown") and "TensorFlow is not installed" in line for line in lines), lines
    folder = shutil.copytree(READER, tmp_path / "run")
    (folder / "network.json").write_text("{}")
    told = command(["verify", folder], **small)
    assert (told.returncode, told.stderr) == (2, "") and "CHANGED    network.json" in told.stdout


def test_a_run_is_verified_by_numpy(small, tmp_path):
    "A finished run whose probabilities were kept, checked where TensorFlow is missing."
    fine(command(["run", "--recipe", "tiny", "--out", tmp_path / "run", "--quiet", "--no-report"]))
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"model.keras", "network.json", "model.tflite", "model.tflite.json", "run.json"} <= files
    lines = fine(command(["verify", tmp_path / "run"], **small)).splitlines()
    assert any(line.startswith("as it was  model: predicted 500 digits again") for line in lines), lines
    assert any(line.startswith("as it was  model.tflite") for line in lines), lines


@pytest.mark.parametrize("words", [["run", "--recipe", "tiny", "--quiet"], ["sweep", "--recipe", "tiny", "--seeds", "1"], ["export", "RUN", "--to", "savedmodel"]])
def test_what_needs_tensorflow_says_so_in_one_line(words, small, tmp_path):
    folder = shutil.copytree(READER, tmp_path / "run")
    told = command([folder if word == "RUN" else word for word in words], cwd=tmp_path, **small)
    said = refused(told)
    assert told.stdout == ""
    assert ("TensorFlow" in said or "h5py" in said) and "pip install" in said


CHANGES = {
    "empty": b"", "half": None, "a list": b"[]", "very deep": b"[" * 200_000, "another model": b'{"operations": [], "weights": [], "data": ""}',
    "a terabyte": json.dumps({"operations": [{"op": "frame", "sides": [10**6] * 4, "from": [0]}], "weights": [], "data": ""}).encode(),
    "many views of one array": json.dumps({"operations": [], "weights": [{"shape": [1], "bits": 32, "at": 0}] * 10**5, "data": "AAAAAA=="}).encode(),
    "a large pool": json.dumps({"operations": [{"op": "frame", "sides": [28] * 4, "from": [0]}, {"op": "frame", "sides": [28] * 4, "from": [1]}, {"op": "pool", "size": [140, 140], "stride": [1, 1], "from": [2]}], "weights": [], "data": ""}).encode(),
    "not a number": json.dumps({"operations": [{"op": "flat", "from": [0]}, {"op": "dense", "then": "softmax", "kernel": 0, "bias": 1, "from": [1]}], "weights": [{"shape": [784, 10], "bits": 16, "at": 0}, {"shape": [10], "bits": 16, "at": 15_680}], "data": base64.b64encode(bytes(15_680) + 10 * b"\0\x7e").decode()}).encode(),
    "large numbers": json.dumps({"operations": [{"op": "pool", "size": [1, 1], "stride": [10**30, 1], "from": [0]}], "weights": [], "data": ""}).encode(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_strangers_network_is_refused_in_one_line(what, small, root, tmp_path):
    folder = shutil.copytree(READER, tmp_path / "run")
    content = CHANGES[what] if CHANGES[what] is not None else (folder / "network.json").read_bytes()[:300_000]
    (folder / "network.json").write_bytes(content)
    record = json.loads((folder / "run.json").read_text())
    record["files"]["network.json"] = checksums(folder / "network.json")  # a stranger can write this, too
    (folder / "run.json").write_text(json.dumps(record))
    told = command(["read", root / "nbs/samples/sheet.png", "--run", folder, "--quiet"], **small)
    assert "network.json: " in refused(told)


def test_a_network_that_the_run_does_not_list_is_not_used(small, root, tmp_path):
    folder = shutil.copytree(READER, tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    del record["files"]["network.json"], record["checksum"]
    (folder / "run.json").write_text(json.dumps(record))
    assert "TensorFlow" in refused(command(["read", root / "nbs/samples/sheet.png", "--run", folder, "--quiet"], **small))


def test_any_changed_operation_is_refused_or_computed():
    "No change of the text of a network ends in anything but an InputError, or in another network."
    packed, rng = pack(parse_network((READER / "network.json").read_bytes())), np.random.default_rng(0)
    values = [None, -1, 0, 1, 3, 10**9, 1e39, "conv", "kernel", [], [0], [1, 2], [-5, 5, 5, 5], {}, True]
    for _ in range(300):
        net = json.loads(json.dumps({**packed, "data": ""}))
        net["data"] = packed["data"]
        for _ in range(rng.integers(1, 4)):
            entry = net["operations"][rng.integers(len(net["operations"]))] if rng.random() < 0.8 else net["weights"][rng.integers(len(net["weights"]))]
            entry[list(entry)[rng.integers(len(entry))]] = values[rng.integers(len(values))]
        try:
            unpack(net)
        except ValueError as e:
            assert str(e).startswith("network: damaged, or not one of ours"), e


@pytest.mark.parametrize("name", ["fit", "DigitClassifier"])
def test_names_of_the_package_say_what_is_missing(name, small):
    told = subprocess.run([sys.executable, "-c", f"from digit_recognizer import load_digits, score, read, {name}"], capture_output=True, text=True, **small)
    assert told.returncode and "TensorFlow" in told.stderr.splitlines()[-1] and "pip install" in told.stderr.splitlines()[-1], told.stderr
