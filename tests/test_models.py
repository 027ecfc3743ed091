"""Models that come from elsewhere, are damaged, or go elsewhere: dangerous Keras files are refused before Keras sees them, changed
files before they are loaded, and every export works from fresh processes, whole or not at all."""
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from unittest.mock import patch

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import run as command
from processes import start

from digit_recognizer.core.files import InputError
from digit_recognizer.data import load_embedded
from digit_recognizer.runs.export import FORMATS, LiteModel, checksums, fastest_file, fastest_model
from digit_recognizer.runs.folder import load_run, pretrained_run
from digit_recognizer.runs.models import check_model, failure_reason, load_model, read_model

READER = pretrained_run().folder
MEMBERS = ("config.json", "metadata.json", "model.weights.h5")
PACKAGES = {"litert": ("ai_edge_litert",), "onnx": ("onnx", "onnxruntime", "tf2onnx"), "savedmodel": (), "web": ()}
FILES = {"litert": "model.tflite", "onnx": "model.onnx", "savedmodel": "savedmodel", "web": "page.html"}
CLASSES = {"litert": "runs.export.LiteModel", "onnx": "runs.export.OnnxModel", "savedmodel": "runs.export.SavedModel", "web": "web.page.PageModel"}

with zipfile.ZipFile(READER / "model.keras") as z:
    GOOD = {name: z.read(name) for name in MEMBERS}


def archive(members):
    "A zip file of (name, content)."
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, content in members:
            z.writestr(name, content)
    return out.getvalue()


def model_with(**changes):
    "The pretrained model with other members: config, weights or metadata."
    names = {"config": "config.json", "metadata": "metadata.json", "weights": "model.weights.h5"}
    return archive({**GOOD, **{names[k]: v for k, v in changes.items()}}.items())


def weights_with(change):
    "A model whose weights were changed through h5py."
    file = io.BytesIO(GOOD["model.weights.h5"])
    with h5py.File(file, "r+") as f:
        change(f)
    return model_with(weights=file.getvalue())


def first_kernel(f):
    "Name and shape of the first kernel."
    found = []
    f.visititems(lambda name, node: found.append((name, node.shape)) if isinstance(node, h5py.Dataset) and node.ndim == 4 else None)
    return found[0]


def replace_kernel(**how):
    "Put another array into the place of a kernel."
    def change(f):
        name, shape = first_kernel(f)
        del f[name]
        size = 4 * int(np.prod(shape))
        f.create_dataset(name, shape, "float32", **{k: v(size) if callable(v) else v for k, v in how.items()})
    return weights_with(change)


def virtual(f):
    name, shape = first_kernel(f)
    del f[name]
    layout = h5py.VirtualLayout(shape, "float32")
    layout[:] = h5py.VirtualSource("/secret.h5", "w", shape=shape)
    f.create_virtual_dataset(name, layout)


def linked(link):
    "Put a link into the place of a kernel."
    def change(f):
        name, _ = first_kernel(f)
        del f[name]
        f[name] = link
    return weights_with(change)


def soft_loop(f):
    f["layers/loop"] = h5py.SoftLink("/")


def hidden(f):
    f.create_group("layers/a/b/c/d").create_dataset("e", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def cycle(f):
    f["layers/again"] = f["/"]


def twice(f):
    name, _ = first_kernel(f)
    f["more"] = f[name]


def refers(f):
    f.attrs["at"] = f.ref


def refers_in_array(f):
    f.create_dataset("refers", data=np.array([f.ref], dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)


def texts(f):
    f.create_dataset("texts", data=["a", "b"], dtype=h5py.string_dtype())


def named_type(f):
    f["kind"] = np.dtype("f4")


def bomb(f):
    f.create_dataset("bomb", (1 << 40,), "f4")


def chunked_bomb(f):
    f.create_dataset("bomb", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")


def config_with(**entry):
    "A model whose configuration asks for something more, deep inside."
    config = json.loads(GOOD["config.json"])
    config["config"]["layers"][1]["config"]["layers"].append({"config": {"name": "more"}, "inbound_nodes": [], **entry})
    return model_with(config=json.dumps(config))


def encrypted():
    content = bytearray(archive(GOOD.items()))
    for at in (content.find(b"PK\x03\x04") + 6, content.find(b"PK\x01\x02") + 8):
        content[at] |= 1
    return bytes(content)


DANGEROUS = {
    "external dataset": lambda: replace_kernel(external=lambda size: [("/etc/passwd", 0, size)]),
    "external dataset in groups": lambda: weights_with(hidden),
    "virtual dataset": lambda: weights_with(virtual),
    "external link": lambda: linked(h5py.ExternalLink("/secret.h5", "/w")),
    "soft link": lambda: linked(h5py.SoftLink("/optimizer")),
    "compressed": lambda: replace_kernel(compression="gzip"),
    "cycle": lambda: weights_with(cycle),
    "two names": lambda: weights_with(twice),
    "reference in an attribute": lambda: weights_with(refers),
    "references": lambda: weights_with(refers_in_array),
    "texts": lambda: weights_with(texts),
    "named type": lambda: weights_with(named_type),
    "4 TB": lambda: weights_with(bomb),
    "4 TB in chunks": lambda: weights_with(chunked_bomb),
    "plain HDF5": lambda: GOOD["model.weights.h5"],
    "cut weights": lambda: model_with(weights=GOOD["model.weights.h5"][:5000]),
    "empty weights": lambda: model_with(weights=b""),
    "another h5": lambda: archive([*GOOD.items(), ("more.weights.h5", GOOD["model.weights.h5"])]),
    "npz": lambda: archive([*GOOD.items(), ("model.weights.npz", b"PK")]),
    "name twice": lambda: archive([*GOOD.items(), ("config.json", GOOD["config.json"])]),
    "path out": lambda: archive([*GOOD.items(), ("../../evil.txt", b"")]),
    "assets": lambda: archive([*GOOD.items(), ("assets/layers/vocabulary.txt", b"")]),
    "no metadata": lambda: archive([item for item in GOOD.items() if item[0] != "metadata.json"]),
    "encrypted": encrypted,
    "huge config": lambda: model_with(config=b" " * 20_000_001),
    "deep config": lambda: model_with(config=b'{"class_name": ' * 500 + b"0" + b"}" * 500),
    "very deep config": lambda: model_with(config=b"[" * 200_000 + b"]" * 200_000),
    "config is a list": lambda: model_with(config=b"[]"),
    "config is half": lambda: model_with(config=GOOD["config.json"][:1000]),
    "lambda layer": lambda: config_with(module="keras.layers", class_name="Lambda", registered_name=None),
    "lambda layer, legacy": lambda: config_with(class_name="Lambda"),
    "lambda": lambda: config_with(class_name="__lambda__", config={"value": "evil"}),
    "internal module": lambda: config_with(module="keras.src.layers.core.lambda_layer", class_name="Lambda", registered_name="Lambda"),
    "SavedModel layer": lambda: config_with(module="keras.layers", class_name="TFSMLayer", registered_name=None),
    "pickled layer": lambda: config_with(module="keras.layers", class_name="TorchModuleWrapper", registered_name=None),
    "vocabulary": lambda: config_with(module="keras.layers", class_name="StringLookup", config={"vocabulary": "/etc/passwd"}),
    "typespec": lambda: config_with(class_name="__typespec__", module="keras.layers"),
    "custom class": lambda: config_with(module="evil", class_name="Dense", registered_name="evil>Dense"),
    "registered class": lambda: config_with(module="keras.layers", class_name="Dense", registered_name="evil>Dense"),
    "function": lambda: config_with(module="keras.utils", class_name="function", config="get_file", registered_name="get_file"),
    "system": lambda: config_with(module="os", class_name="function", config="system", registered_name="system"),
    "function of a layer's module": lambda: config_with(module="keras.losses", class_name="function", config="get", registered_name="function"),
    "activation": lambda: config_with(activation=dict(module="keras.activations", class_name="function", config="deserialize", registered_name="function")),
    "huge shape": lambda: config_with(module="keras.layers", class_name="Dense", registered_name=None, build_config={"input_shape": [None, 10**10]}),
    "a number of 400 digits": lambda: config_with(module="keras.layers", class_name="Dense", registered_name=None, units=10**400),
    "infinite": lambda: config_with(module="keras.layers", class_name="Dense", registered_name=None, units=float("inf")),
    "loop": lambda: weights_with(soft_loop),
    "enumeration": lambda: weights_with(lambda f: f.create_dataset("enum", data=np.zeros(3, "i1"), dtype=h5py.enum_dtype({"a": 0}))),
    "records": lambda: weights_with(lambda f: f.create_dataset("records", data=np.zeros(3, [("a", "f4")]))),
    "no value": lambda: weights_with(lambda f: f.create_dataset("empty", data=h5py.Empty("f4"))),
    "class name is a list": lambda: config_with(module="keras.layers", class_name=["Dense"]),
}


@pytest.mark.parametrize("what", DANGEROUS)
def test_dangerous_models_are_refused_before_keras_sees_them(what, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(DANGEROUS[what]())
    with patch("keras.models.load_model", side_effect=AssertionError("Keras was called")):
        with pytest.raises(InputError) as told:
            load_model(path)
    assert str(told.value).startswith(f"{path}: not one of our models")
    assert "\n" not in str(told.value)


def test_a_command_refuses_a_dangerous_model_in_one_line(tmp_path):
    shutil.copytree(READER, tmp_path / "run")
    (tmp_path / "run" / "model.keras").write_bytes(DANGEROUS["external dataset"]())
    record = json.loads((READER / "run.json").read_text())
    record.pop("checksum", None)
    record["files"] = {"model.keras": checksums(tmp_path / "run" / "model.keras")}  # a stranger can write this, too
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    told = command(["export", tmp_path / "run"])
    assert (told.returncode, told.stderr.count("\n")) == (2, 1), told.stderr
    assert "external storage" in told.stderr


def networks():
    "One of each kind that a run can hold."
    from digit_recognizer.core.speed import MuonAdam
    from digit_recognizer.model import build, ensemble, with_temperature, with_tta

    nets = {"compiled": build("residual", 16, seed=0)}
    nets["compiled"].compile(MuonAdam(0.01, 4.5, use_ema=True), "categorical_crossentropy")
    nets |= {name: build(name, 4, seed=1) for name in ("residual", "plain", "classic")}
    nets["average"] = ensemble([with_temperature(with_tta(nets["residual"], 5), 0.6), nets["plain"]])
    return nets


def test_our_own_models_are_loaded_bit_for_bit(tmp_path):
    import keras

    for name, net in networks().items():
        net.save(tmp_path / f"{name}.keras")
    for path in [READER / "model.keras", *tmp_path.glob("*.keras")]:
        one, other = load_model(path), keras.models.load_model(path, compile=False)
        assert one.get_config() == other.get_config()
        assert all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True)), path.name
        x = load_embedded().x[:50, ..., None]
        assert np.array_equal(one.predict_on_batch(x), other.predict_on_batch(x))


def test_what_was_checked_is_what_keras_reads(tmp_path):
    "A file that is exchanged after the check changes nothing."
    path = tmp_path / "model.keras"
    path.write_bytes(archive(GOOD.items()))
    check = load_model.__globals__["check_model"]

    def exchange(*args):
        found = check(*args)
        path.write_bytes(b"another")
        return found

    with patch.dict(load_model.__globals__, check_model=exchange):
        assert load_model(path).count_params() == pretrained_run().model.count_params()


def test_a_model_that_differs_from_its_record_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    shutil.copy(READER / "model.keras", path)
    record = {"files": {"model.keras": checksums(path)}}
    for text in (json.dumps(record), json.dumps({"files": None}), "[" * 100_000, "[]", ""):
        (tmp_path / "run.json").write_text(text)
        assert read_model(path) == path.read_bytes()
    (tmp_path / "run.json").write_text(json.dumps(record))
    path.write_bytes(model_with(metadata="{}"))
    with pytest.raises(InputError, match="has changed since it was written"):
        load_model(path)


def test_errors_name_versions_layer_and_argument(tmp_path):
    config = json.loads(GOOD["config.json"])
    layer = config["config"]["layers"][1]["config"]["layers"][2]
    layer["config"]["flavour"] = "sweet"
    path = tmp_path / "model.keras"
    path.write_bytes(model_with(config=json.dumps(config), metadata='{"keras_version": "3.99.1"}'))
    with pytest.raises(InputError) as told:
        load_model(path)
    said = str(told.value)
    for words in ("3.99.1", f"layer {layer['config']['name']!r} (Conv2D)", "{'flavour': 'sweet'}", "pip install keras==3.99.1"):
        assert words in said, said
    assert len(said) < 500


def test_missing_weights_name_the_layer(tmp_path):
    def change(f):
        name, _ = first_kernel(f)
        del f[name]

    path = tmp_path / "model.keras"
    path.write_bytes(weights_with(change))
    with pytest.raises(InputError, match=r"layer 'conv2d\w*' \(Conv2D\): .*"):
        load_model(path)


@given(st.text(), st.lists(st.text(), max_size=3))
@settings(max_examples=50, deadline=None)
def test_any_error_has_a_reason_in_one_line(text, more):
    said = failure_reason(ValueError("Exception encountered: ".join([*more, text])))
    assert "\n" not in said


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_changed_members_never_give_a_traceback(data):
    name = data.draw(st.sampled_from(MEMBERS))
    content = bytearray(GOOD[name])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        check_model("model.keras", archive({**GOOD, name: bytes(content)}.items()))
    except InputError as e:
        assert "\n" not in str(e)


def available(to):
    return all(map(find_spec, PACKAGES[to]))


USE = """import sys
from importlib import import_module
import numpy as np
from digit_recognizer.data import load_embedded
batches = [load_embedded().x[a:b, ..., None] for a, b in ((0, 20), (20, 27))]
for name in sys.argv[2:]:
    where, path = name.split('=')
    module, kind = where.rsplit('.', 1)
    model = getattr(import_module(f'digit_recognizer.{module}'), kind)(path)
    np.save(f'{sys.argv[1]}/{kind}.npy', np.concatenate([model.predict_on_batch(x) for x in batches]))"""


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    "A copy of the pretrained run, exported to each format by the command, each in a process of its own."
    folder = tmp_path_factory.mktemp("exports") / "run"
    shutil.copytree(READER, folder)
    told = {to: command(["export", folder, "--to", to]) for to in FILES if available(to)}
    return folder, told


@pytest.fixture(scope="session")
def answers(exported, tmp_path_factory):
    "What the exported models give in another fresh process, as files."
    folder, out = exported[0], tmp_path_factory.mktemp("answers")
    names = [f"{CLASSES[to]}={folder / FILES[to]}" for to in exported[1] if (folder / FILES[to]).exists()]
    subprocess.run([sys.executable, "-c", USE, out, *names], check=True)
    return out


@pytest.mark.parametrize("to", FILES)
def test_every_format_works_from_fresh_processes(to, exported, answers):
    if not available(to):
        pytest.skip(f"{to} is not installed")
    folder, told = exported
    assert (told[to].returncode, told[to].stderr) == (0, ""), told[to].stderr
    found = np.load(answers / f"{CLASSES[to].rsplit('.', 1)[1]}.npy")
    proba = pretrained_run().model.predict_on_batch(load_embedded().x[:27, ..., None])
    assert abs(found - proba).max() < 1e-3
    if to != "web":
        about = json.loads((folder / f"{FILES[to]}.json").read_text())
        assert about["sha256"] == checksums(folder / FILES[to])


def test_exports_leave_nothing_else(exported):
    folder, told = exported
    files = {FILES[to] for to in told} | {f"{FILES[to]}.json" for to in told if to != "web"}
    assert {p.name for p in folder.iterdir()} == {path.name for path in READER.iterdir()} | files


needs_litert = pytest.mark.skipif(not available("litert"), reason="LiteRT is not installed")


@pytest.fixture
def lite(exported, tmp_path):
    "A run folder with model.tflite."
    for name in ("run.json", "model.keras", "model.tflite", "model.tflite.json"):
        shutil.copy(exported[0] / name, tmp_path)
    return tmp_path


@needs_litert
def test_a_changed_byte_of_an_export_is_never_loaded(lite):
    path = lite / "model.tflite"
    content = path.read_bytes()
    for at in np.random.RandomState(0).randint(0, len(content), 50):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(InputError, match="has changed since it was written"):
            LiteModel(path)
        with pytest.raises(InputError, match="has changed since it was written"):
            fastest_model(load_run(lite))
    (lite / "test.csv").write_text("\n".join([",".join(f"pixel{i}" for i in range(784)), ",".join(["0"] * 784)]) + "\n")
    told = command(["predict", lite, lite / "test.csv", "--out", lite / "out.csv", "--quiet"])
    assert (told.returncode, told.stdout, told.stderr.count("\n")) == (2, "", 1), told.stderr
    assert "model.tflite: has changed" in told.stderr
    assert not (lite / "out.csv").exists()


@pytest.mark.parametrize("to", FILES)
def test_an_export_that_is_there_is_not_made_again(to, exported):
    if not available(to) or to == "web":
        pytest.skip(f"{to} is not installed, or has no checksum beside it")
    folder, _ = exported
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    told = command(["export", folder, "--to", to])
    assert (told.returncode, told.stderr) == (0, "") and "there already" in told.stdout, told
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@needs_litert
def test_a_changed_export_is_never_replaced(lite):
    (lite / "model.tflite").write_bytes(b"mine")
    told = command(["export", lite])
    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    assert "model.tflite already exists, and is not what an export of this run wrote; delete it first" in told.stderr
    assert (lite / "model.tflite").read_bytes() == b"mine"


@needs_litert
@pytest.mark.parametrize("text", [None, "{}", '{"sha256": null}', "[]", "half", '{"sha256": {"a": "b"}}', '{"sha256": 7}'])
def test_an_export_without_a_checksum_is_never_loaded(text, lite):
    beside = lite / "model.tflite.json"
    beside.unlink()
    if text is not None:
        beside.write_text(text)
    with pytest.raises(InputError, match="delete it and export the run again"):
        LiteModel(lite / "model.tflite")


@pytest.mark.parametrize("to", [to for to in FORMATS])
def test_files_of_the_user_are_never_overwritten(to, exported, tmp_path):
    if not available(to):
        pytest.skip(f"{to} is not installed")
    from digit_recognizer.web.page import export_to

    for name in ("run.json", "model.keras"):
        shutil.copy(READER / name, tmp_path)
    mine = tmp_path / f"{FILES[to]}.json"
    for text in ('{"mine": 1}', "", json.dumps({**json.loads((exported[0] / mine.name).read_text()), "note": "mine"})):
        mine.write_text(text)
        with pytest.raises(InputError, match="already exists"):
            export_to(load_run(tmp_path), to)
        assert mine.read_text() == text
        assert {p.name for p in tmp_path.iterdir()} == {"run.json", "model.keras", mine.name}
    mine.unlink()
    mine.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="already exists"):
        export_to(load_run(tmp_path), to)


KILLED = """import os, sys
def deadly(name):
    do = getattr(os, name)
    def die(a, b):
        if os.path.basename(b)==sys.argv[2]: os._exit(9)
        do(a, b)
    return die
for name in ('replace', 'rename', 'link'): setattr(os, name, deadly(name))
from digit_recognizer.runs.export import export_run
from digit_recognizer.runs.folder import load_run
export_run(load_run(sys.argv[1]))"""


@needs_litert
def test_a_kill_between_model_and_description_is_repaired(tmp_path):
    shutil.copytree(READER, tmp_path / "run")
    assert subprocess.run([sys.executable, "-c", KILLED, tmp_path / "run", "model.tflite"], capture_output=True).returncode == 9
    assert (tmp_path / "run" / "model.tflite.json").exists()
    run = load_run(tmp_path / "run")
    assert fastest_file(run).name == "model.keras"
    from digit_recognizer.runs.export import export_run

    export_run(run)
    assert {p.name for p in run.folder.iterdir()} == {path.name for path in READER.iterdir()} | {"model.tflite", "model.tflite.json"}
    assert fastest_file(run).name == "model.tflite"


@needs_litert
def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path):
    from digit_recognizer.web.page import export_to

    shutil.copytree(READER, tmp_path / "run")
    dead = start(["--version"], stdout=subprocess.DEVNULL)
    dead.wait()
    for name in (f".{dead.pid}-model.tflite", f".{dead.pid}-page.html"):
        (tmp_path / "run" / name).write_text("half")
    for name in (f".{dead.pid}-savedmodel", ".export-abc"):
        (tmp_path / "run" / name).mkdir()
        (tmp_path / "run" / name / "half").write_text("half")
    (tmp_path / "run" / f".{os.getppid()}-report.html").write_text("half")
    export_to(load_run(tmp_path / "run"), "web")
    assert [p.name for p in (tmp_path / "run").glob(".*")] == [f".{os.getppid()}-report.html"]


def test_a_changed_page_is_noticed(exported, tmp_path):
    from digit_recognizer.web.page import PageModel

    text = (exported[0] / "page.html").read_text(encoding="utf-8")
    begin = text.index("{", text.index('id="model"'))
    for at in np.random.RandomState(0).randint(begin, text.index("</script>", begin), 20):
        other = "A" if text[at] != "A" else "B"
        (tmp_path / "page.html").write_text(text[:at] + other + text[at + 1 :], encoding="utf-8")
        with pytest.raises(InputError, match="make the page again|make one with"):
            PageModel(tmp_path / "page.html")


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.xdist_group("web")
def test_a_changed_page_says_so_in_the_browser(exported, tmp_path):
    from browsing import chromium

    text = (exported[0] / "page.html").read_text(encoding="utf-8")
    at = text.rindex('"data": "') + 1000  # among the weights
    (tmp_path / "page.html").write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :], encoding="utf-8")
    with chromium() as browser:
        page = browser.new_page()
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_function("document.querySelector('main').textContent.includes('is damaged')", timeout=20_000)
        page.goto((exported[0] / "page.html").as_uri())
        page.wait_for_timeout(1000)
        assert "damaged" not in page.inner_text("main")
