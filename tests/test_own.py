"""Parts of the user's own, by the command line: the whole chain, what is executed and what never is, and mistakes.

The recipe file of most tests notes each time that it is executed, so that a run folder cannot execute it unseen.
"""
import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from installing import build, interpreter, uv
from processes import assert_same_run, checkpoints, run, start, wait_for

from digit_recognizer.core.recipe import RECIPES
from digit_recognizer.core.source import named_recipe, with_parts
from digit_recognizer.data import export_csv, load_embedded, take_digits
from digit_recognizer.runs.folder import load_run

MINE = '''"""A small network of my own."""
import os
import keras
import tensorflow as tf
from keras import layers
from digit_recognizer import make_recipe

if "NOTE" in os.environ: print("executed", file=open(os.environ["NOTE"], "a"))
recipe = make_recipe("tiny", {"epochs": 6, "batch": 64})


def network(width, seed):
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(width, 3, strides=2, padding="same", activation="silu")(layers.Rescaling(1/255)(inputs))
    x = layers.BatchNormalization()(layers.MaxPooling2D(2)(x))
    gate = layers.Dense(width, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    x = layers.Multiply()([x, layers.Reshape((1, 1, width))(gate)])
    x = layers.Dropout(.1)(layers.Flatten()(layers.Conv2D(2*width, 3, activation="relu")(x)))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def augment(images, seed):
    return tf.roll(images, tf.random.stateless_uniform((2,), seed, -1, 2, tf.int32), (1, 2))


def schedule(step, steps, lr): return lr*(1-step/steps)


def optimizer(learning_rate): return keras.optimizers.AdamW(learning_rate, weight_decay=.01)


def loss(y_true, y_pred): return keras.losses.categorical_crossentropy(y_true, y_pred, label_smoothing=.1)


def callbacks(): return [keras.callbacks.CSVLogger(os.environ["NOTE"]+".csv")] if "NOTE" in os.environ else []
'''


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    "A folder of CSV files with 3,000 labelled digits and 500 to predict."
    few = take_digits(load_embedded(), 3000)
    return export_csv(replace(few, x_test=few.x_test[:500], y_test=None), tmp_path_factory.mktemp("own") / "digits")


@pytest.fixture
def mine(tmp_path, monkeypatch):
    "A recipe file; `executed` counts how often it was executed."
    monkeypatch.setenv("NOTE", str(tmp_path / "note"))
    (tmp_path / "mine.py").write_text(MINE)

    def executed():
        return (tmp_path / "note").read_text().count("executed") if (tmp_path / "note").exists() else 0

    return SimpleNamespace(path=tmp_path / "mine.py", executed=executed, here=tmp_path)


def fine(told):
    "What a command printed; it must have succeeded."
    assert told.returncode == 0, told.stderr
    return told.stdout


def refused(told):
    "The one line in which a command refused something."
    assert told.returncode == 2 and told.stderr.count("\n") == 1 and "Traceback" not in told.stderr, told.stderr
    return told.stderr


@pytest.fixture(scope="session")
def made(data, tmp_path_factory):
    "A finished run with own parts, for tests that copy it."
    here = tmp_path_factory.mktemp("made")
    (here / "mine.py").write_text(MINE)
    fine(run(["run", "--recipe", here / "mine.py", "--set", "epochs=2", "--data", data, "--out", here / "run", "--quiet", "--no-report"]))
    return here / "run"


def test_a_run_folder_executes_nothing(made, mine, data):
    folder = mine.here / "run"
    shutil.copytree(made, folder)
    (folder / "model.tflite").unlink()
    said = fine(run(["verify", folder, "--data", data]))
    assert "unknown    own parts: network, augment, schedule, optimizer, loss, callbacks are Python code" in said and "CHANGED" not in said
    for words in (["report", folder, "--data", data], ["compare", folder, made], ["runs", mine.here], ["export", folder, "--to", "web"],
                  ["export", folder], ["predict", folder, data / "test.csv", "--out", mine.here / "out.csv"]):  # fmt: skip
        fine(run(words))
    assert mine.executed() == 0
    assert "CSVLogger" in (folder / "report.html").read_text() and "--recipe RUN/recipe.py" in (folder / "report.html").read_text()
    said = fine(run(["verify", folder, "--data", data, "--recipe", folder / "recipe.py"]))
    assert "as it was  own parts: network, augment, schedule, optimizer, loss, callbacks, defined by the file" in said and mine.executed() == 1


def test_changed_code_is_noticed_and_not_executed(made, mine, data):
    folder = mine.here / "run"
    shutil.copytree(made, folder)
    (folder / "recipe.py").write_text(MINE + "\n")
    told = run(["verify", folder, "--data", data])
    assert told.returncode == 2 and "CHANGED    recipe.py: other bytes" in told.stdout and "CHANGED    own parts" in told.stdout
    assert "is not the code that" in refused(run(["verify", folder, "--recipe", folder / "recipe.py"]))
    assert mine.executed() == 0


@pytest.mark.slow
def test_killed_and_resumed(mine, data):
    words = ["run", "--recipe", mine.path, "--data", data, "--members", 2, "--quiet", "--no-report", "--out"]
    fine(run([*words, mine.here / "whole"]))
    out = mine.here / "killed"
    process = start([*words, out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_for("a checkpoint", lambda: checkpoints(out), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = mine.executed()
    told = refused(run(["run", "--resume", out]))
    assert told.endswith(f"digit_recognizer run --resume {out} --recipe {out}/recipe.py\n") and mine.executed() == before
    (mine.here / "other.py").write_text(MINE.replace("AdamW", "Adam"))
    assert "is not the code that" in refused(run(["run", "--resume", out, "--recipe", mine.here / "other.py"]))
    fine(run(["run", "--resume", out, "--recipe", out / "recipe.py", "--no-report"]))
    whole, resumed = load_run(mine.here / "whole"), load_run(out)
    assert_same_run(whole, resumed)
    assert whole.info["recipe"] == resumed.info["recipe"] and len(whole.curve) == 12


def ours_again():
    "Our own parts, given as a user's."
    import keras

    from digit_recognizer.model import residual
    from digit_recognizer.preprocess import augment

    return dict(network=residual, augment=augment, loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.05))


def test_the_default_path_is_unchanged(tmp_path):
    "The default network and augmentation, given as a user's, lead to the same bits; a default run has no trace of own parts."
    from digit_recognizer.runs.pipeline import run_pipeline

    few, tiny = take_digits(load_embedded(), 2000), RECIPES["tiny"]
    plain = run_pipeline(few, tiny, tmp_path / "plain", progress=False)
    own = run_pipeline(few, tiny, tmp_path / "own", progress=False, **ours_again())
    assert np.array_equal(plain.test, own.test) and plain.curve.val_loss.equals(own.curve.val_loss)
    assert not {"own", "code"} & plain.info["recipe"].keys() and "callbacks" not in plain.info["training"]
    assert not (plain.folder / "recipe.py").exists() and own.info["recipe"]["own"] == "network+augment+loss"
    assert plain.info["recipe"].keys() == own.info["recipe"].keys() - {"own", "code"}


def test_callbacks_given_as_objects_are_named(tmp_path):
    import keras

    from digit_recognizer.runs.pipeline import run_pipeline
    from digit_recognizer.runs.verify import verify

    few = take_digits(load_embedded(), 2000)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=0, min_delta=9)
    made = run_pipeline(few, replace(RECIPES["tiny"], epochs=5), tmp_path / "stopped", progress=False, callbacks=[stop])
    assert made.info["training"]["callbacks"] == ["EarlyStopping"] and len(made.curve) == 2
    assert not [finding for finding in verify(made, few) if finding.fine is False]


MISTAKES = {
    "no such part": ("netwrok = 3", "defines neither a recipe nor one of network"),
    "another input": ("import keras\ndef network(): return keras.Sequential([keras.Input((784,)), keras.layers.Dense(10, activation='softmax')])",
                      "network: takes (None, 784) and gives (None, 10); expected (None, 28, 28, 1)"),
    "logits": ("import keras\ndef network(): return keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])",
               "are not probabilities; end it with softmax"),
    "own layer": ("import keras\nclass Mine(keras.layers.Dense): pass\n"
                  "def network(): return keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), Mine(10, activation='softmax')])",
                  "network: has Mine of module recipe_file_"),
    "one for all": ("from keras import *\nnet = Sequential([Input((28, 28, 1)), layers.Flatten(), layers.Dense(10, activation='softmax')])\n"
                    "def network(): return net", "network: has the same layers each time; build them inside the function"),
    "unseeded": ("import tensorflow as tf\ndef augment(images): return images*tf.random.uniform((), .5, 1)", "other pictures for the same seed"),
    "scaled": ("def augment(images): return images/255", "augment: gives pixels from 0 to 1 for digits up to 255; it must not scale them"),
    "cut": ("def augment(images): return images[:, 2:26, 2:26]", "augment: gives shape (64, 24, 24, 1)"),
    "error": ("def augment(images):\n    return images+unknown", "mine.py, line 2: augment: NameError: name 'unknown' is not defined"),
    "diverges": ("recipe = {'epochs': 1, 'batch': 64}\nimport keras\ndef optimizer(): return keras.optimizers.SGD(1e30)",
                 "training diverged in epoch 1; lower the rate of your optimizer"),
    "syntax": ("def network(:", "mine.py, line 1: SyntaxError"),
    "recipe": ("recipe = {'epoch': 3}", "unknown recipe field 'epoch'; did you mean epochs?"),
}  # fmt: skip


LATE = """import keras
recipe = {"epochs": 3, "batch": 64}
class Server(keras.callbacks.Callback):
    def WHEN(self, *args, **logs):
        raise RuntimeError("no server")
def callbacks(): return [Server()]
"""


@pytest.mark.parametrize("when, kept", [("on_train_begin", False), ("on_epoch_end", True)])
def test_a_callback_that_fails(when, kept, mine, data):
    "What was trained before a callback failed is kept."
    mine.path.write_text(LATE.replace("WHEN", when))
    told = refused(run(["run", "--recipe", mine.path, "--data", data, "--out", mine.here / "out", "--quiet"]))
    assert "mine.py, line 5: training failed in or after callbacks: RuntimeError: no server" in told
    assert (mine.here / "out").exists() == kept == ("--resume" in told)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_one_line(mistake, mine, data):
    source, message = MISTAKES[mistake]
    mine.path.write_text(source)
    told = run(["run", "--recipe", mine.path, "--data", data, "--out", mine.here / "out", "--quiet"])
    assert message in refused(told)
    assert not (mine.here / "out").exists()


def test_one_function_as_the_network(mine, data):
    mine.path.write_text(MINE.replace("def network(", "def build("))
    words = ["run", "--network", f"{mine.path}:build", "--recipe", "tiny", "--data", data, "--quiet", "--no-report", "--json", "--out"]
    answer = json.loads(fine(run([*words, mine.here / "one"])))
    assert (answer["recipe"]["own"], answer["recipe"]["network"], answer["training"]["epochs"]) == ("network", "own", 1)
    again = fine(run(["run", "--recipe", mine.here / "one/recipe.py", "--data", data, "--quiet", "--no-report", "--out", mine.here / "two"]))
    assert "own parts   network\n" in again
    assert np.array_equal(load_run(mine.here / "one").test, load_run(mine.here / "two").test)


def test_a_file_beside_it_would_not_be_kept(mine, data, monkeypatch):
    (mine.here / "my_layers.py").write_text("def augment(images): return images")
    mine.path.write_text("from my_layers import augment")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(mine.here), os.environ.get("PYTHONPATH", "")]))
    told = refused(run(["run", "--recipe", mine.path, "--data", data, "--out", mine.here / "out"]))
    assert "mine.py: imports my_layers, which is not installed, so the run could not keep it" in told


def test_sweep_with_a_recipe_file(mine, data):
    words = ["sweep", "--recipe", mine.path, "--recipe", "tiny", "--set", "epochs=1", "--seeds", "2", "--data", data, "--quiet"]
    said = fine(run([*words, "--out", mine.here / "sweep"]))
    assert said.count("2 seeds of 600 digits") == 2 and "verdict" in said
    assert (mine.here / "sweep/mine-seed=1/recipe.py").read_text() == MINE
    fine(run([*words, "--out", mine.here / "sweep"]))
    mine.path.write_text(MINE + "\n")
    assert "differs in runs" in refused(run([*words, "--out", mine.here / "sweep"]))


def test_parts_of_a_program(tmp_path):
    "Functions of a file that is imported are kept with what they use."
    (tmp_path / "nets.py").write_text("import keras\nSIDE = 3\ndef conv(n): return keras.layers.Conv2D(n, SIDE, activation='relu')\n"
                                      "def net(width): return keras.Sequential([keras.Input((28, 28, 1)), conv(width), "
                                      "keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(10, activation='softmax')])\n")  # fmt: skip
    told = subprocess.run([shutil.which("python"), "-c", "import nets; from digit_recognizer.core.source import with_parts; "
                           "from digit_recognizer import make_recipe; print(with_parts(make_recipe('tiny'), network=nets.net).source)"],
                          capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"})  # fmt: skip
    assert told.returncode == 0, told.stderr
    (tmp_path / "kept.py").write_text(told.stdout)
    kept = named_recipe(str(tmp_path / "kept.py"))
    assert kept.own == "network" and "SIDE = 3" in kept.source
    assert with_parts(RECIPES["tiny"]) == RECIPES["tiny"]


@pytest.fixture(scope="session")
def owner(root, tmp_path_factory):
    "An environment with the wheel and the extras of the chain; calls a program in a folder of its own."
    tmp = tmp_path_factory.mktemp("owner")
    wheel, python = build(root, tmp)[1], interpreter("3.11", "3.12", "3.10", "3.13")
    uv("venv", "-q", "-p", python, tmp / "env")
    uv("pip", "install", "-q", "-p", tmp / "env/bin/python", f"{wheel}[litert,dask,kaggle]")
    (tmp / "mine.py").write_text(MINE)

    def call(*words, program="digit_recognizer", code=0, **env):
        told = subprocess.run([str(tmp / "env/bin" / program), *map(str, words)], capture_output=True, text=True, cwd=tmp,
                              env={"PATH": "/usr/bin:/bin", "HOME": str(tmp), "XDG_CACHE_HOME": str(tmp / "cache"), **env})  # fmt: skip
        assert told.returncode == code, told.stderr
        return told.stdout + told.stderr

    call.folder = tmp
    return call


SUBMIT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fake_kaggle import run_command, start_kaggle
with start_kaggle(Path("home"), b"") as kaggle: code, out, err = run_command("submit", "runs/mine", "-m", "a network of my own", "--rehearsal-anyway", "--copies-anyway")
print(out, err)
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.index
@pytest.mark.xdist_group("wheel")
def test_the_whole_chain(owner, root):
    here = owner.folder
    whole = load_embedded()
    data = export_csv(replace(take_digits(whole, 3000), x_test=whole.x_test, y_test=None), here / "digits")
    words = ["run", "--recipe", "mine.py", "--data", data, "--quiet"]
    owner(*words, "--out", "runs/mine")
    killed = subprocess.Popen([str(here / "env/bin/digit_recognizer"), *map(str, words), "--out", "runs/killed"], cwd=here,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin", "HOME": str(here)})  # fmt: skip
    wait_for("a checkpoint", lambda: checkpoints(here / "runs/killed"), killed)
    killed.kill()
    killed.wait()
    owner("run", "--resume", "runs/killed", "--recipe", "runs/killed/recipe.py", "--no-report")
    submission = (here / "runs/mine/submission.csv").read_bytes()
    assert (here / "runs/killed/submission.csv").read_bytes() == submission
    assert "CHANGED" not in owner("verify", "runs/mine", "--data", data, "--recipe", "runs/mine/recipe.py")
    assert "recipe.py" in (here / "runs/mine/report.html").read_text()
    owner("run", "--recipe", "tiny", "--data", data, "--quiet", "--no-report")
    assert "on 600 digits" in owner("compare", "runs/mine", "runs/tiny")
    owner(*words, "--members", "2", "--workers", "2", "--out", "runs/two", "--no-report")
    assert "CHANGED" not in owner("verify", "runs/two", "--data", data, "--recipe", "runs/two/recipe.py")
    owner("export", "runs/mine")
    owner("predict", "runs/mine", data / "test.csv", "--out", "lite.csv", "--quiet")
    assert (here / "lite.csv").read_bytes() == submission
    owner("export", "runs/mine", "--to", "web")
    assert (here / "runs/mine/page.html").stat().st_size > 10_000
    assert "number 4242" in owner("-c", SUBMIT, root / "tests", program="python")
