"""Another project's settings of Keras change nothing, or are refused; quotas of a container count as processors."""
import json
import os
import subprocess
import sys
from unittest.mock import patch

import pytest
from processes import run

from digit_recognizer.core import backend
from digit_recognizer.core.files import InputError

TRAIN = """import hashlib, json
from dataclasses import replace
import numpy as np
from digit_recognizer.train import fit
from digit_recognizer.core.backend import describe_environment
from digit_recognizer.core.predict import predict
from digit_recognizer.core.recipe import RECIPES
from digit_recognizer.data import load_digits
from digit_recognizer.runs.folder import pretrained_run
digits = load_digits()
few = digits.x[:192], digits.y[:192], digits.x[192:256], digits.y[192:256]
fitted = fit(replace(RECIPES["tiny"], epochs=2), *few, progress=False)
digest = hashlib.sha256()
for model in (fitted.model, pretrained_run().model):
    for a in (*model.get_weights(), predict(model, few[0])):
        digest.update(np.ascontiguousarray(a).tobytes())
told = {k: v for k, v in describe_environment().items() if k in ("backend", "floatx", "image_data_format", "threads")}
print(json.dumps([digest.hexdigest(), fitted.curve.val_loss.tolist(), told]))
"""
FOREIGN = {"backend": "jax", "floatx": "float16", "image_data_format": "channels_first", "epsilon": 0.001}


def environ(**more):
    left = {k: v for k, v in os.environ.items() if not k.startswith(("KERAS_", "TF_NUM_", "PYTHON_CPU"))}
    return {**left, "TF_CPP_MIN_LOG_LEVEL": "3", **more}


def python(code, **more):
    return subprocess.run([sys.executable, "-c", code], env=environ(**more), capture_output=True, text=True)


def train(**more):
    told = python(TRAIN, **more)
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return train(KERAS_HOME=str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def home(tmp_path):
    "A folder whose keras.json is another project's."
    (tmp_path / "keras.json").write_text(json.dumps(FOREIGN))
    return tmp_path


def test_a_clean_process_says_what_it_is(clean):
    assert {k: clean[2][k] for k in ("backend", "floatx", "image_data_format")} == {
        "backend": "tensorflow",
        "floatx": "float32",
        "image_data_format": "channels_last",
    }


def test_the_settings_of_another_project_change_nothing(clean, home):
    assert train(KERAS_HOME=str(home)) == clean
    assert json.loads((home / "keras.json").read_text()) == FOREIGN


def test_the_variables_of_another_project_change_nothing(clean, home):
    (home / "keras.json").write_text("{")
    more = {"KERAS_BACKEND": "torch", "KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1", "KERAS_NNX_ENABLED": "1"}
    assert train(KERAS_HOME=str(home), **more, TF_USE_LEGACY_KERAS="1") == clean


def test_a_file_that_keras_rejects_is_one_line(home):
    (home / "keras.json").write_text('{"floatx": "bfloat16"}')
    told = run(["run", "--recipe", "tiny", "--out", home / "run"], env=environ(KERAS_HOME=str(home)))
    assert told.returncode == 2 and not (home / "run").exists()
    (said,) = told.stderr.splitlines()
    assert "Keras cannot be imported" in said and "bfloat16" in said and str(home) in said


def test_keras_that_was_imported_with_other_settings_is_refused(home):
    (home / "keras.json").write_text(json.dumps({**FOREIGN, "backend": "tensorflow"}))
    told = python("import keras\nimport digit_recognizer.train", KERAS_HOME=str(home))
    said = told.stderr.splitlines()[-1]
    assert told.returncode and "InputError: Keras was set to floatx='float16', image_data_format='channels_first'" in said
    assert "call keras.config.set_floatx('float32')" in said


def test_settings_of_the_process():
    backend.start_tensorflow()
    import keras

    from digit_recognizer.model import build
    from digit_recognizer.runs.folder import pretrained_run

    for name, value in (
        ("floatx", "float16"),
        ("floatx", "float64"),
        ("image_data_format", "channels_first"),
        ("dtype_policy", "mixed_float16"),
        ("dtype_policy", "mixed_bfloat16"),
        ("epsilon", 1e-3),
        ("max_epochs", 1),
        ("max_steps_per_epoch", 3),
    ):
        change = getattr(keras.config, f"set_{name}")
        try:
            change(value)
            for function in (lambda: build("residual", 4), lambda: pretrained_run().model, backend.start_tensorflow):
                with pytest.raises(InputError, match=f"Keras was set to {name}={value!r} in this process"):
                    function()
        finally:
            change(backend.KERAS_SETTINGS[name])
    with patch("keras.config.backend", lambda: "jax"), pytest.raises(InputError, match="backend='jax'.*start a new process"):
        build("residual", 4)
    build("residual", 4)


V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu,cpuacct"


def cpu_max(quota, period=100_000, folder=V2):
    return {f"{folder}/cpu.max": f"{quota} {period}\n"}


def cfs(quota, period=100_000, folder=V1):
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


NESTED = "11:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n1:name=systemd:/docker/a\n0::/docker/a\n"


@pytest.mark.parametrize(
    "groups, files, cores",
    [
        ("0::/\n", {}, 16),
        ("0::/\n", cpu_max("max"), 16),
        ("0::/\n", cpu_max(200_000), 2),
        ("0::/\n", cpu_max(250_000), 3),
        ("0::/\n", cpu_max(1_000), 1),
        ("0::/\n", cpu_max(5_000, 10_000), 1),
        ("0::/\n", cpu_max(30_000, 10_000), 3),
        ("0::/\n", cpu_max(6_400_000), 16),
        ("0::/\n", {f"{V2}/cpu.max": ""}, 16),
        ("0::/\n", {f"{V2}/cpu.max": "many 100000"}, 16),
        ("0::/\n", cpu_max(100_000, 0), 16),
        ("0::/a/b/c\n", {**cpu_max("max", folder=f"{V2}/a/b/c"), **cpu_max(500_000, folder=f"{V2}/a/b")}, 5),
        ("0::/a/b/c\n", {**cpu_max(300_000, folder=f"{V2}/a/b/c"), **cpu_max(500_000, folder=f"{V2}/a/b")}, 3),
        ("0::/a/b/c\n", {**cpu_max(300_000, folder=f"{V2}/a/b/c"), **cpu_max(100_000, folder=f"{V2}/a")}, 1),
        ("0::/a\n", cpu_max(100_000, folder=f"{V2}/other"), 16),
        ("0::/../a\n", cpu_max(400_000), 4),
        ("0::/a:b\n", cpu_max(400_000, folder=f"{V2}/a:b"), 4),
        (NESTED, cfs(-1), 16),
        (NESTED, cfs(150_000), 2),
        (NESTED, cfs(400_000, folder=f"{V1}/docker/a"), 4),
        (NESTED, {**cfs(400_000, folder=f"{V1}/docker/a"), **cfs(200_000, folder=f"{V1}/docker")}, 2),
        ("4:cpu:/x\n", cfs(700_000, folder="sys/fs/cgroup/cpu/x"), 7),
        ("4:cpuacct,cpu:/x\n", cfs(700_000, folder="sys/fs/cgroup/cpuacct,cpu/x"), 7),
        ("4:cpuset:/x\n", cfs(700_000, folder="sys/fs/cgroup/cpuset/x"), 16),
        ("1:name=systemd:/x\n0::/x\n", cpu_max(600_000, folder=f"{V2}/unified/x"), 6),
        ("nonsense\n\n0::/\n", cpu_max(200_000), 2),
        ("0::/a\udcff\n", cpu_max(400_000, folder=f"{V2}/a\udcff"), 4),
    ],
)
def test_quotas_count_as_processors(tmp_path, monkeypatch, groups, files, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(16), raising=False)
    for name in ("PYTHON_CPU_COUNT", backend.THREADS[0]):
        monkeypatch.delenv(name, raising=False)
    for path, text in {"proc/self/cgroup": groups, **files}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, errors="surrogateescape")
    assert backend.cpu_count(tmp_path) == cores
    monkeypatch.setenv("PYTHON_CPU_COUNT", "9")
    assert backend.cpu_count(tmp_path) == 9
    monkeypatch.setenv("PYTHON_CPU_COUNT", "default")
    assert backend.cpu_count(tmp_path) == cores


def test_without_control_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(16), raising=False)
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
    assert backend.cpu_count(tmp_path) == 16


def test_tensorflow_is_given_as_many_threads_as_the_quota_grants():
    code = """import os
from unittest.mock import patch
from digit_recognizer.core import backend
with patch.object(backend, "cpu_count", lambda: 3), patch.object(backend, "_usable_processors", lambda: 64):
    backend.start_tensorflow()
    import tensorflow as tf
    tf.reduce_sum(tf.ones((500, 500))@tf.ones((500, 500)))
    print(backend.describe_environment()["threads"], *(os.environ[name] for name in backend.THREADS))
"""
    assert python(code).stdout.split() == ["3", "3", "3"]


@pytest.mark.parametrize("given, usable, quota, wanted", [({}, 64, 3, ("3", "3")), ({}, 64, 64, (None, None)), ({"TF_NUM_INTRAOP_THREADS": "5"}, 64, 3, ("5", None))])
def test_threads_that_the_user_has_set_stay(monkeypatch, given, usable, quota, wanted):
    for name in backend.THREADS:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(backend, "cpu_count", lambda: quota)
    monkeypatch.setattr(backend, "_usable_processors", lambda: usable)
    monkeypatch.setattr(backend, "_import_keras", lambda: None)
    with patch.dict(sys.modules), patch.dict(os.environ):
        for name in ("keras", "tensorflow"):
            sys.modules.pop(name, None)
        backend.start_tensorflow()
        assert tuple(map(os.environ.get, backend.THREADS)) == wanted
