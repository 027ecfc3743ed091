"""Trainings whose batches two halves of the processor share. A strategy must come before TensorFlow does anything else,
so each test runs in a process of its own.
"""
import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("replicas")]

PREAMBLE = """
from digit_recognizer.scale.replicas import mirrored_strategy
two = mirrored_strategy(cpus=2)

import json, tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch
import keras
import numpy as np
from digit_recognizer.core.files import InputError
from digit_recognizer.core.recipe import RECIPES
from digit_recognizer.data import load_digits
from digit_recognizer.model import BUILDERS
from digit_recognizer.preprocess import scaling_layer, validation_batches
from digit_recognizer.train import Recorder, fit

digits = load_digits()
few = digits.x[:640], digits.y[:640], digits.x[4000:4701], digits.y[4000:4701]
tiny = replace(RECIPES['tiny'], epochs=2)

def difference(a, b):
    "The largest difference between two trainings, in weights and curves."
    def numbers(fitted): return fitted.model.get_weights()+[fitted.curve.drop(columns=['seconds', 'cpu_seconds']).values]
    return max(float(np.abs(p-q).max()) for p, q in zip(numbers(a), numbers(b), strict=True))

def error(fn, *args):
    "What an InputError says."
    try: fn(*args)
    except InputError as e: return str(e)

def tell(**facts): print(json.dumps(facts))
"""

RESUME = """
def interrupt(self, batch, logs=None):
    "Interrupt a training half-way."
    if len(self.rows)==recipe.epochs//2: raise KeyboardInterrupt

whole, again = (fit(recipe, *few, False, strategy=two) for _ in range(2))
with tempfile.TemporaryDirectory() as tmp:
    try:
        with patch.object(Recorder, 'on_train_batch_begin', interrupt): fit(recipe, *few, False, Path(tmp), two)
    except KeyboardInterrupt: pass
    refused = error(fit, recipe, *few, False, Path(tmp))
    resumed = fit(recipe, *few, False, Path(tmp), two)
guess = whole.model.predict(few[2][..., None], verbose=0).argmax(1)
tell(again=difference(whole, again), resumed=difference(whole, resumed), refused=refused,
     curve=whole.curve.val_accuracy[whole.kept_epoch-1], own=float((guess==few[3]).mean()), rates=len(set(whole.curve.lr)))
"""


def told(lines):
    "Run some lines in a process of their own; what they tell."
    done = subprocess.run([sys.executable, "-c", PREAMBLE + lines], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_linear_network_as_on_one_device():
    "Without batch normalisation and dropout, only rounding differs."
    differences = told("""
def linear(width, seed):
    start = keras.initializers.GlorotUniform(seed)
    return keras.Sequential([keras.Input((28, 28, 1)), scaling_layer(), keras.layers.Flatten(),
                             keras.layers.Dense(10, activation='softmax', kernel_initializer=start)])

with patch.dict(BUILDERS, residual=linear):
    recipes = tiny, replace(tiny, weights='best', schedule='plateau', lr=1e-3)
    tell(**{r.weights: difference(fit(r, *few, False), fit(r, *few, False, strategy=two)) for r in recipes})
""")
    assert differences.keys() == {"averaged", "best"} and max(differences.values()) < 1e-5, differences


STALLING = "replace(RECIPES['classic'], width=4, epochs=5, batch=640, lr=1.1e-5, weights='best')"


@pytest.mark.parametrize("recipe", ["tiny", STALLING], ids=["averaged", "dropout and plateau"])
def test_repeated_and_resumed_bit_for_bit(recipe):
    "The same twice, resumed the same, scored as itself, and refused on one device."
    facts = told(f"recipe = {recipe}\n{RESUME}")
    assert (facts["again"], facts["resumed"]) == (0, 0), facts
    assert abs(facts["curve"] - facts["own"]) < 1e-6, facts
    assert "differs in number of replicas" in facts["refused"], facts
    assert facts["rates"] > 1, "the learning rate never changed"


def test_teachers_share_the_devices_too():
    "A student whose teacher was trained on both halves is the same twice, and learns what the teacher says."
    facts = told("""
recipe = replace(tiny, teachers=1, teacher='tiny', epochs=3, batch=32)
a, b = (fit(recipe, *few, False, strategy=two) for _ in range(2))
tell(again=difference(a, b), teacher=difference(a.teachers[0], b.teachers[0]), agree=a.curve.accuracy.iloc[-1])
""")
    assert (facts["again"], facts["teacher"]) == (0, 0) and facts["agree"] > 0.7, facts


def test_no_share_is_empty():
    "TensorFlow deals every validation batch to all replicas; batches that cannot be shared equally are refused."
    facts = told("""
def shares(n):
    "How many digits each replica gets of each batch."
    batches = two.experimental_distribute_dataset(validation_batches(few[2][:n], few[3][:n], 2))
    return [[len(share) for share in two.experimental_local_results(yb)] for _, yb in batches]

tell(shares={n: shares(n) for n in (2, 3, 350, 351, 699, 700, 701)}, batch=error(fit, replace(tiny, batch=33), *few, False, None, two),
     validation=error(fit, tiny, *few[:2], few[2][:1], few[3][:1], False, None, two))
""")
    for n, shares in facts["shares"].items():
        assert sum(map(sum, shares)) == int(n) and all(min(share) > 0 for share in shares), (n, shares)
    assert "batch=33 is not divisible by 2 replicas" in facts["batch"]
    assert "1 validation images are too few for 2 replicas" in facts["validation"]
