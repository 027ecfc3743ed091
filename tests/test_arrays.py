"""The door for arrays: the same digits in every form give the same answers; all else is refused in one line."""
import tracemalloc
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digit_recognizer.core.arrays import to_digits, to_images, to_labels
from digit_recognizer.core.files import InputError
from digit_recognizer.core.predict import check_proba, predict
from digit_recognizer.core.tables import PIXELS
from digit_recognizer.data import load_digits
from digit_recognizer.evaluate import confusion, fit_temperature, mistakes, per_digit, score

DIGITS = load_digits()
X, Y = DIGITS.x[:60], DIGITS.y[:60]


class Ink:
    "A stand-in for a network: its answer follows from every pixel, so a changed pixel is seen."

    def predict_on_batch(self, xb):
        sums = xb.reshape(len(xb), -1).astype(np.float64) @ np.arange(1, 785)
        return np.eye(10, dtype=np.float32)[(sums % 10).astype(int)]


def refused(message, function, *args, **options):
    with pytest.raises(InputError) as caught:
        function(*args, **options)
    said = str(caught.value)
    assert message in said and "\n" not in said and len(said) < 400, said


def table(kind=np.uint8, columns=PIXELS):
    return pd.DataFrame(X.reshape(-1, 784).astype(kind), columns=columns)


SHAPES = {"flat": (-1, 784), "folded": (-1, 28, 28), "channel": (-1, 28, 28, 1), "channel first": (-1, 1, 28, 28)}
TYPES = ["u1", "i2", "i4", "i8", "u8", "f2", "f4", "f8", "g", ">f4", ">i4", "O"]
FORMS = {
    "array": lambda a: a,
    "list": lambda a: a.tolist(),
    "list of arrays": list,
    "tuple": lambda a: tuple(map(tuple, a)) if a.ndim == 2 else tuple(a),
    "masked, nothing hidden": np.ma.masked_array,
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) if a.dtype != "O" else a,
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "Fortran": np.asfortranarray,
}


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(SHAPES)), st.sampled_from(TYPES), st.sampled_from(sorted(FORMS)), st.integers(0, 12))
def test_every_form_gives_the_same_answers(shape, kind, form, n):
    x = FORMS[form](X[:n].reshape(SHAPES[shape] if n else (0, *SHAPES[shape][1:])).astype(kind))
    if not n and not hasattr(x, "shape"):
        return
    imgs = to_images(x, "predict")
    assert imgs.dtype == np.uint8 and np.array_equal(imgs, X[:n])
    assert np.array_equal(predict(Ink(), x), predict(Ink(), X[:n]))


def frames():
    yield "pandas", table()
    yield "pandas, floats", table(np.float32)
    yield "pandas, nullable", table().astype("Int64")
    yield "pandas, mixed", table().astype({"pixel3": "float64", "pixel5": "int64"})
    yield "pandas, other names", table(columns=[f"{i}x{j}" for i in range(1, 29) for j in range(1, 29)])
    yield "pandas, no names", pd.DataFrame(X.reshape(-1, 784))
    yield "pandas, shuffled index", table().set_index(np.random.default_rng(0).permutation(60))
    yield "pandas, arrow", table().astype("uint8[pyarrow]")
    yield "pandas, a column of images", pd.Series(list(X))
    yield "pandas, a column of rows", pd.Series(list(X.reshape(-1, 784)))


@pytest.mark.parametrize("name, frame", list(frames()))
def test_tables(name, frame):
    assert np.array_equal(to_images(frame, "fit"), X), name


@pytest.mark.parametrize("library", ["polars", "pyarrow", "torch", "jax.numpy", "dask.array", "xarray", "tensorflow", "ml_dtypes"])
def test_other_libraries(library):
    there = pytest.importorskip(library)
    made = {
        "polars": lambda: there.DataFrame(X.reshape(-1, 784), schema=PIXELS),
        "pyarrow": lambda: there.Table.from_pandas(table(), preserve_index=False),
        "torch": lambda: there.tensor(X),
        "jax.numpy": lambda: there.asarray(X),
        "dask.array": lambda: there.from_array(X),
        "xarray": lambda: there.DataArray(X),
        "tensorflow": lambda: there.constant(X[..., None], dtype="bfloat16"),
        "ml_dtypes": lambda: X.astype(there.bfloat16),
    }[library]()
    assert np.array_equal(to_images(made, "predict"), X)


def test_bytes_are_not_copied_and_floats_take_little_memory():
    big = np.repeat(X, 200, axis=0)
    for x in (big, big.reshape(-1, 784), big[..., None]):
        tracemalloc.start()
        assert np.shares_memory(to_images(x, "fit"), big)
        assert tracemalloc.get_traced_memory()[1] < big.nbytes / 2
        tracemalloc.stop()
    for kind in ("f8", "f4", "i8"):
        x = big.astype(kind)
        tracemalloc.start()
        to_images(x, "fit")
        assert tracemalloc.get_traced_memory()[1] < 1e8
        tracemalloc.stop()


def test_fractions_are_rounded():
    shrunk = X * 0.999 + 0.3 * (X > 0)
    assert np.array_equal(to_images(shrunk, "fit"), np.rint(shrunk))
    assert np.array_equal(to_images(X - 1e-6, "fit"), X)
    assert np.array_equal(to_images(X.astype("f4") + np.float32(0.4), "fit"), X)


def test_mnist_is_never_refused():
    for x in (DIGITS.x, DIGITS.x_test):
        assert np.shares_memory(to_images(x, "fit"), x)
    assert to_images(DIGITS.x[:5000] * 0.3, "fit").max() == 76
    for blank in (np.zeros((3, 784), np.uint8), np.zeros((3, 784)), np.zeros((3, 784), bool)):
        assert not to_images(blank, "predict").any()
    moved = np.roll(DIGITS.x[:5000], (9, 9), (1, 2))
    assert to_images(moved, "predict") is not None


SCALES = {
    "0-1": (lambda x: x / 255, "multiply the pixels"),
    "0-1, half precision": (lambda x: (x / 255).astype("f2"), "multiply the pixels by 255"),
    "0-1, faint": (lambda x: x / 2550, "multiply the pixels by 255"),
    "booleans": (lambda x: x > 127, "multiply the pixels by 255"),
    "ones": (lambda x: (x > 127).astype(np.uint8), "multiply the pixels by 255"),
    "0-1, resized beyond 1": (lambda x: x / 255 * 1.07, "stretch"),
    "0-16": (lambda x: x // 16, "stretch"),
    "-1 to 1": (lambda x: x / 127.5 - 1, "a pixel of -1"),
    "-0.5 to 0.5": (lambda x: x / 255 - 0.5000001, "a pixel of -0.5"),
    "standardised": (lambda x: (x - x.mean()) / x.std(), "undo what scaled the pixels"),
    "0-65535": (lambda x: x.astype(np.uint16) * 257, "a pixel of "),
    "signed bytes": (lambda x: x.astype(np.int8), "a pixel of -"),
    "inverted": (lambda x: 255 - x, "invert"),
    "inverted, floats": (lambda x: 255.0 - x, "invert"),
    "inverted, pale": (lambda x: 200 - x // 2, "invert"),
    "NaN": (lambda x: np.where(x >= 250, np.nan, x), "missing value (NaN)"),
    "infinite": (lambda x: np.where(x >= 250, np.inf, x), "a pixel of inf"),
}


@pytest.mark.parametrize("name", SCALES)
def test_other_scales(name):
    change, message = SCALES[name]
    for x in (X, X[..., None], X.reshape(-1, 784)):
        refused(message, predict, Ink(), change(x))
    refused(message, to_digits, change(X).tolist(), Y, "fit")


@pytest.mark.parametrize("name", ["0-1", "ones", "inverted", "0-1, faint"])
@given(st.sets(st.integers(0, 499), min_size=1, max_size=60))
@settings(deadline=None, max_examples=10)
def test_a_mixture_is_judged_by_its_share(name, rows):
    some = DIGITS.x[:500]
    x, rows = some.astype(np.float64), sorted(rows)
    x[rows] = SCALES[name][0](some[rows])
    if len(rows) > 5:
        refused(f"{len(rows)} of 500 images", predict, Ink(), x)
        refused(f"(the first is image {rows[0]})", to_images, x, "fit")
    else:
        assert np.array_equal(to_images(x, "predict"), np.rint(x))


def test_a_part_of_an_accepted_set_is_trained_on():
    "Three of 300 images are inverted; all are among the validation digits."
    x = DIGITS.x[:300].copy()
    x[297:] = 255 - x[297:]
    assert np.array_equal(to_images(x, "predict"), x)
    refused("3 of 60 images", to_images, x[240:], "predict")
    assert np.array_equal(to_digits(x[240:], DIGITS.y[240:300], "fit: validation")[0], x[240:])
    refused("4 of 60 images", to_digits, x[-60:][::-1] ^ (np.arange(60) == 30)[:, None, None] * np.uint8(255), DIGITS.y[:60], "fit")


@pytest.mark.parametrize("name", ["0-1", "ones", "inverted", "inverted, pale"])
def test_one_of_a_few_is_refused(name):
    for n in (1, 2, 10, 60):
        x = X[:n].astype(float)
        x[n // 2] = SCALES[name][0](X[n // 2])
        refused("predict: ", predict, Ink(), x)


@pytest.mark.parametrize("name", ["NaN", "infinite", "-1 to 1"])
def test_one_pixel_out_of_range_is_named(name):
    x = DIGITS.x[:9000].astype(float)
    x[8000] = SCALES[name][0](x[8000])
    refused("image 8000 has ", predict, Ink(), x)


def test_odd_images_among_many_cost_nothing():
    x = DIGITS.x[:500].copy()
    x[7] //= 50  # faint
    x[8] = 0
    x[9] = 255 - x[9]
    x[10], x[11], x[12] = 255, 3, 1
    assert to_images(x, "predict") is not None and len(predict(Ink(), x)) == 500
    assert np.array_equal(to_images(DIGITS.x // 3, "predict"), DIGITS.x // 3)
    blanks = np.zeros((500, 28, 28), np.uint8)
    blanks[3] = DIGITS.x[3]
    assert np.array_equal(to_images(blanks, "predict"), blanks)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (X[0], "one image has the shape (1, 28, 28)"),
        (X[0].ravel(), "one image has the shape (1, 28, 28)"),
        (X.transpose(1, 2, 0), "images first"),
        (X.reshape(60, 784).T, "images first"),
        (X[:, :20], "28 × 28"),
        (np.repeat(X[..., None], 3, 3), "grey"),
        (np.repeat(X[:, None], 3, 1), "grey"),
        (np.column_stack([Y, X.reshape(60, 784)]), "drop the label"),
        (table().assign(label=Y), "drop the label"),
        (table().to_records(index=False), "expected numbers, got recarray of (numpy.record"),
        (pd.Series([X[0], X[1, :20]]), "numpy cannot read this list"),
        (pd.Series([X[0], None]), "expected numbers, got NoneType, ndarray"),
        (table().assign(label=Y).drop(columns="pixel0"), "drop the label"),
        (table()[sorted(PIXELS)], "order of the pixels"),
        (table()[PIXELS[::-1]], "order of the pixels"),
        (X.astype(str), "expected numbers"),
        (X.astype("S3"), "expected numbers"),
        (X.astype(complex), "complex128"),
        (X.astype("M8[s]"), "datetime64"),
        ([[1, 2], [3]], "numpy cannot read this list"),
        ([[None] * 784], "NoneType"),
        ([[10**400] * 784], "expected numbers, got int"),
        (np.full((2, 784), Decimal(3), object), "Decimal"),
        (table().astype("Int64").where(table() > 0), "NAType"),
        (np.ma.masked_equal(X, 0), "masked"),
        ("test.csv", "expected numbers"),
        (None, "expected numbers"),
        (iter(X), "expected numbers"),
        ({"x": X}, "expected numbers"),
        (DIGITS, "expected numbers"),
        (7, "(n, 784)"),
        ([], "(n, 784)"),
    ],
)
def test_what_is_not_images(wrong, message):
    refused(message, predict, Ink(), wrong)


def test_shown_on_purpose():
    assert np.array_equal(to_images(255 - X, "predict", check=False), 255 - X)
    assert len(predict(Ink(), X // 16, check=False)) == 60
    refused("(n, 784)", predict, Ink(), X[0], check=False)


LABELS = {
    "integers": lambda y: y.astype(int),
    "floats": lambda y: y.astype(float),
    "half precision": lambda y: y.astype("f2"),
    "list": lambda y: y.tolist(),
    "text": lambda y: y.astype(str),
    "bytes": lambda y: y.astype("S1"),
    "objects": lambda y: y.astype(object),
    "objects, text": lambda y: y.astype(str).astype(object),
    "column": lambda y: y[:, None],
    "Series": pd.Series,
    "categories": lambda y: pd.Series(y.astype(str), dtype="category"),
    "text of pandas": lambda y: pd.Series(y.astype(str), dtype="string"),
    "nullable": lambda y: pd.Series(y, dtype="Int64"),
    "one column": lambda y: pd.DataFrame({"label": y}),
}


@pytest.mark.parametrize("form", LABELS)
def test_labels_of_every_form(form):
    y = to_labels(LABELS[form](Y), 60, "fit")
    assert y.dtype == np.uint8 and np.array_equal(y, Y)
    assert score(LABELS[form](Y), LABELS[form](Y)).errors == 0


def changed(value, kind=float):
    y = Y.astype(kind)
    y[7] = value
    return y


@pytest.mark.parametrize(
    "wrong, message",
    [
        (changed(-1, int), "label -1 at row 7"),
        (changed(10, int), "label 10 at row 7"),
        (changed(255, np.uint8), "label 255 at row 7"),
        (changed(3.5), "label 3.5 at row 7"),
        (changed(np.nan), "label nan at row 7"),
        (changed(np.inf), "label inf at row 7"),
        (changed("seven", object), "label seven at row 7"),
        (changed(None, object), "label None at row 7"),
        (changed("٣", object), "is not a digit"),
        (changed([3], object), "is not a digit"),
        (Y.astype(str).astype("U2") + np.array(" "), "is not a digit"),
        (Y > 4, "is not a digit"),
        (Y.astype(complex), "is not a digit"),
        (Y[:-1], "60 of them, got 59"),
        (np.r_[Y, Y], "60 of them, got 120"),
        (np.eye(10)[Y], "take .argmax(1) of rows of ten"),
        (np.eye(10)[Y].astype(bool), "take .argmax(1) of rows of ten"),
        (X, "shape (n,)"),
        (3, "shape (n,)"),
        (None, "shape (n,)"),
        ([[1, 2], [3]], "numpy cannot read"),
        (np.ma.masked_equal(Y, 3), "masked"),
        (pd.Series(Y, dtype="Int64").where(Y != 3), "is not a digit"),
    ],
)
def test_what_is_not_labels(wrong, message):
    refused(message, to_digits, X, wrong, "fit")
    if "argmax" not in message:
        refused("score: ", score, wrong, Y)
        refused("score: ", score, Y, wrong)


def test_no_training_on_other_arrays():
    from digit_recognizer.core.recipe import RECIPES
    from digit_recognizer.train import fit

    tiny = replace(RECIPES["tiny"], epochs=1)
    good = X, Y, X[:20], Y[:20]
    for at, wrong, message in (
        (0, X / 255, "fit: the brightest pixel"),
        (0, 255 - X, "fit: 60 of 60 images have a bright border"),
        (0, X[:-1], "fit: expected integers from 0 to 9, 59 of them"),
        (1, np.eye(10)[Y], "fit: expected integers"),
        (2, X[:20] / 255, "fit: validation: the brightest pixel"),
        (3, Y, "fit: validation: expected integers from 0 to 9, 20 of them"),
        (3, changed(-1, int)[:20], "fit: validation: label -1 at row 7"),
    ):
        refused(message, fit, tiny, *good[:at], wrong, *good[at + 1 :])


PROBA = np.full((60, 10), 0.02, np.float32) + 0.8 * np.eye(10, dtype=np.float32)[Y]


@pytest.mark.parametrize(
    "y, proba, message",
    [
        (Y, np.log(PROBA), "logits need a softmax"),
        (Y, PROBA * 2, "sums to 2"),
        (Y, np.where(PROBA == PROBA[4, 4], np.nan, PROBA), "sums to nan"),
        (Y, np.where(np.arange(60)[:, None] == 5, np.inf, PROBA), "row 5"),
        (Y, PROBA[:, :9], "expected probabilities (n, 10)"),
        (Y, PROBA.astype(str), "expected probabilities (n, 10)"),
        (Y, PROBA.astype(object), "expected probabilities (n, 10)"),
        (Y, PROBA[:0], "expected probabilities (n, 10)"),
        (Y[:-1], PROBA, "60 of them, got 59"),
        (changed(-1, int), PROBA, "label -1 at row 7"),
        (changed(np.nan), PROBA, "label nan at row 7"),
        (np.eye(10)[Y], PROBA, "rows of ten"),
    ],
)
def test_scores_check_labels_and_probabilities(y, proba, message):
    for function in (score, mistakes, confusion, per_digit, fit_temperature):
        refused(f"{function.__name__}: ", function, y, proba)
        refused(message, function, y, proba)


def test_scores_take_every_form():
    y, proba = list(map(str, Y)), PROBA.tolist()
    wrong = PROBA[np.roll(np.arange(60), 1)].astype(float)
    assert score(y, proba).errors == 0 and score(Y, wrong).errors == int((wrong.argmax(1) != Y).sum())
    assert mistakes(y, wrong.tolist()).equals(mistakes(Y, wrong))
    assert confusion(y, wrong.tolist()).equals(confusion(Y, wrong))
    assert per_digit(y, wrong.tolist()).equals(per_digit(Y, wrong))
    check_proba(proba)


@pytest.mark.parametrize("wrong", [PROBA, changed(-1, int), changed(10, int), changed(np.nan), Y > 4, [], ["seven"]])
def test_no_submission_of_other_labels(tmp_path, wrong):
    from digit_recognizer.submit import write_submission

    refused("write_submission: ", write_submission, wrong, tmp_path / "submission.csv")
    assert not list(tmp_path.iterdir())
