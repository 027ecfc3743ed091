"""The leak guard: labelled digits that hold Kaggle's answers, and digits to predict that are copies of labelled ones.

Kaggle's own files are another random deal of the digits in this package. So another permutation stands in for them here:
it must stay free of any warning, in any part and any order.
"""

import io
import time

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from digit_recognizer.core.copies import COPY_DISTANCE, copies_summary, copies_text, find_copies, find_duplicates, rms
from digit_recognizer.core.files import InputError
from digit_recognizer.core.mnist import deal_mnist, holds_answers, load_mnist, permute_mnist
from digit_recognizer.data import Digits, export_csv, load_digits, with_corrections
from digit_recognizer.runs.folder import Run, load_run
from digit_recognizer.runs.pipeline import data_info
from digit_recognizer.runs.upload import COPIES_FEW, copies_note, prepare_upload
from fake_kaggle import make_run
from processes import run


def as_csv(x, y, x_test):
    "Digits as `load_digits` gives them for CSV files."
    return Digits(np.ascontiguousarray(x), np.ascontiguousarray(y), np.ascontiguousarray(x_test), None, "csv")


@pytest.fixture(scope="session")
def mnist():
    "All images of MNIST and their labels."
    z = load_mnist()
    return np.concatenate([z["x_train"], z["x_test"]]), np.concatenate([z["y_train"], z["y_test"]])


@pytest.fixture(scope="session")
def ours():
    "The embedded deal."
    return deal_mnist()


@pytest.fixture(scope="session")
def kaggles():
    "Another deal, which stands for Kaggle's."
    return deal_mnist(1)


def noisy(x, rng, share=1.0, most=3):
    "Some images with noise of a few grey levels."
    x = x.copy()
    rows = rng.random(len(x)) < share
    noise = rng.integers(-most, most + 1, (rows.sum(), 28, 28))
    x[rows] = np.clip(x[rows].astype(int) + noise, 0, 255)
    return x


def strokes(n, rng):
    "Foreign digits: crossed bars, which are not MNIST's."
    x = np.zeros((n, 28, 28), np.uint8)
    for img, (a, b, shade) in zip(x, rng.integers(4, 20, (n, 3))):
        img[a : a + 4, 4:24], img[4:24, b : b + 4] = 200 + shade, 255 - shade
    return x


# A rehearsal


def without_a_row(x, y, rng):
    return x[1:], y[1:]


def shuffled(x, y, rng):
    order = rng.permutation(len(x))
    return x[order], y[order]


def doubled(x, y, rng):
    rows = rng.integers(0, len(x), 2 * len(x))
    return x[rows], y[rows]


def other_labels(x, y, rng):
    return x, rng.integers(0, 10, len(y)).astype(np.uint8)


def some_noise(x, y, rng):
    return noisy(x, rng, 0.3), y


def all_noise(x, y, rng):
    return noisy(x, rng), y


def moved(x, y, rng):
    return np.roll(x, (1, -1), (1, 2)), y


def with_foreign_digits(x, y, rng):
    return np.concatenate([strokes(2 * len(x), rng), x]), np.concatenate([np.tile(y, 2), y])


def through_jpeg(x, y, rng, quality=95):
    def saved(img):
        file = io.BytesIO()
        Image.fromarray(img).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    return np.stack([saved(img) for img in x[:200]]), y[:200]


def through_small_jpeg(x, y, rng):
    return through_jpeg(x, y, rng, quality=75)


def darker(x, y, rng):
    return (x * 0.7).astype(np.uint8), y


def a_little_darker(x, y, rng):
    return (x.astype(int) * 254 // 255).astype(np.uint8), y


CHANGES = [without_a_row, shuffled, doubled, other_labels, some_noise, all_noise, moved, with_foreign_digits, through_jpeg, through_small_jpeg, darker, a_little_darker]


@pytest.mark.parametrize("n", [60, 3000])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_embedded_digits_are_a_rehearsal(change, n, ours):
    x, y, x_test, _ = ours
    rng = np.random.default_rng(n)
    assert as_csv(*change(x[:n], y[:n], rng), x_test[:n]).rehearsal


@pytest.mark.parametrize("change", [without_a_row, shuffled, doubled])
def test_the_whole_deal_is_a_rehearsal(change, ours):
    x, y, x_test, _ = ours
    assert as_csv(*change(x, y, np.random.default_rng(0)), x_test).rehearsal


def test_a_rehearsal_from_files(tmp_path, ours):
    "From CSV to `run.json`, and with corrected labels."
    x, y, x_test, _ = ours
    digits = load_digits(export_csv(as_csv(x[5:500], y[5:500], x_test[:300]), tmp_path / "kaggle"), cache=False)
    assert digits.rehearsal and data_info(digits)["rehearsal"]
    assert with_corrections(digits, {0: (int(digits.y[0]) + 1) % 10}).rehearsal


@pytest.mark.parametrize("n", [150, 5000])
def test_other_parts_of_mnist_are_a_rehearsal(n, mnist, ours):
    "The embedded held-out digits, and a part of MNIST's own training or test set."
    for x, y in (ours[2:], (mnist[0][:60_000], mnist[1][:60_000]), (mnist[0][60_000:], mnist[1][60_000:])):
        assert as_csv(x[:n], y[:n], mnist[0][:10]).rehearsal


def test_more_images_than_kaggle_labels(mnist, kaggles):
    "Kaggle's train.csv with one further digit of MNIST, with all of MNIST, or twice over, which is not more."
    x, y, x_test, y_test = kaggles
    assert holds_answers(np.concatenate([x, x_test[:1]]))
    assert holds_answers(np.concatenate([x, mnist[0]]))
    assert not holds_answers(np.concatenate([x, x]))


def test_a_mixture_with_honest_digits(ours, kaggles):
    "A tenth of the embedded labelled digits in place of others is seen among 42,000."
    x = kaggles[0].copy()
    x[:4200] = ours[0][:4200]
    assert holds_answers(x)


def test_the_limit_of_few_digits(ours):
    "Forty can be a coincidence of one in a thousand million; forty-one cannot."
    x = ours[0]
    assert [holds_answers(x[:n]) for n in (0, 1, 40, 41)] == [False, False, False, True]
    assert [holds_answers(np.repeat(x[:n], 5, 0)) for n in (40, 41)] == [False, True]


# Honest digits


def images_of(mnist, seed):
    order = permute_mnist(seed)
    return mnist[0][order[:42_000]], mnist[1][order[:42_000]], mnist[0][order[42_000:]]


@pytest.mark.parametrize("seed", range(1, 4))
def test_another_deal_is_free_of_warnings(seed, mnist):
    x, y, x_test = images_of(mnist, seed)
    digits = as_csv(x, y, x_test)
    assert not digits.rehearsal
    assert copies_text(digits.copies) == "" and digits.copies["share"] == 0


def fast_answers(monkeypatch, mnist):
    "`holds_answers` for row numbers in place of images; the search for them is tested elsewhere."
    import pandas as pd

    from digit_recognizer.core import mnist as module

    monkeypatch.setattr(module, "load_mnist", lambda: {"x_train": np.empty(60_000), "x_test": np.empty(10_000)})
    monkeypatch.setattr(module, "find_copies", lambda x, among, within: pd.DataFrame({"copy_of": x}))
    ours = permute_mnist()
    monkeypatch.setattr(module, "permute_mnist", lambda: ours)
    return module.holds_answers


def test_no_part_of_any_deal_is_a_rehearsal(monkeypatch, mnist):
    "600 parts of 60 deals: the first rows, some rows, rows of some classes, rows in order of their label."
    answers, rng = fast_answers(monkeypatch, mnist), np.random.default_rng(0)
    labels = mnist[1]
    for seed in range(60):
        x = permute_mnist(100 + seed)[:42_000]
        in_order = x[np.argsort(labels[x], kind="stable")]
        for n in rng.integers(1, 42_001, 2):
            start = rng.integers(0, 42_001 - n)
            few = x[np.isin(labels[x], rng.permutation(10)[: rng.integers(1, 10)])]
            for part in (x[:n], rng.choice(x, n, replace=False), in_order[:n], in_order[start : start + n], few):
                assert not answers(part)


def test_every_part_of_the_embedded_deal_is_one(monkeypatch, mnist):
    answers, rng = fast_answers(monkeypatch, mnist), np.random.default_rng(0)
    x, labels = permute_mnist()[:42_000], mnist[1]
    in_order = x[np.argsort(labels[x], kind="stable")]
    for n in (41, 50, 200, 1000, 20_000, 41_999):
        for part in (x[:n], x[-n:], rng.choice(x, n, replace=False), in_order[:n], in_order[-n:]):
            assert answers(part)


@pytest.mark.parametrize("change", [all_noise, moved, through_small_jpeg, darker, with_foreign_digits])
def test_changed_honest_digits_are_honest(change, kaggles):
    "As augmentation makes them: beside their originals, or in their place."
    x, y, x_test, _ = kaggles
    other = change(x[:1000], y[:1000], np.random.default_rng(0))[0]
    assert not holds_answers(other) and not holds_answers(np.concatenate([x[:1000], other]))
    assert len(find_copies(x_test[:1000], other)) == 0


@pytest.mark.parametrize("n, m", [(1000, 500), (6000, 3000), (60, 60)])
def test_small_honest_files(n, m, kaggles):
    x, y, x_test, _ = kaggles
    in_order = np.argsort(y, kind="stable")[:n]
    for digits in (as_csv(x[:n], y[:n], x_test[:m]), as_csv(x[in_order], y[in_order], x_test[:m])):
        assert not digits.rehearsal and digits.copies["share"] == 0


def test_foreign_digits_are_honest(kaggles):
    "Drawn bars, blank images, and digits turned by 15 degrees, which are not looked for."
    turned = np.stack([ndimage.rotate(img, 15, reshape=False, order=1) for img in kaggles[0][:500]])
    foreign = np.concatenate([strokes(500, np.random.default_rng(0)), np.zeros((500, 28, 28), np.uint8), turned])
    assert not holds_answers(foreign)


# Copies


def test_copies_between_the_files(ours, kaggles):
    "Kaggle's train.csv with the embedded test.csv, and the other way round: most images occur in both."
    for x, x_test in ((kaggles[0], ours[2]), (ours[0], kaggles[2])):
        digits = as_csv(x, np.zeros(len(x), np.uint8), x_test)
        found = digits.copies
        assert 0.55 < found["share"] < 0.65 and found["near"] == 0
        assert f"{found['exact']:,} of 28,000 digits to predict are copies" in copies_text(found)


@pytest.mark.parametrize("change", [without_a_row, shuffled, doubled, some_noise, all_noise, moved, with_foreign_digits, through_jpeg])
def test_planted_copies_are_found(change, kaggles):
    "A few digits to predict among the labelled ones, changed in every way: all are found, and nothing else."
    x, y, x_test, _ = kaggles
    planted = change(x_test[100:141], y[100:141], np.random.default_rng(0))[0]
    table = find_copies(x_test[:1000], np.concatenate([x[:2000], planted]))
    assert set(table.row) <= set(range(100, 141))
    assert len(table) >= (25 if change is doubled else 40)


def test_the_search_is_exact(kaggles):
    "Against all distances, at a limit where some digits have neighbours and some have not."
    x, x_test, within = kaggles[0][:2500], kaggles[2][:300], 30.0
    x = np.concatenate([x, noisy(x_test[:40], np.random.default_rng(0))])
    truth = np.stack([rms(x, img) for img in x_test])
    table = find_copies(x_test, x, within)
    assert sorted(table.row) == np.flatnonzero(truth.min(1) <= within).tolist()
    assert len(table) > 45
    np.testing.assert_allclose(table.distance, truth[table.row, table.copy_of], rtol=1e-5)


def test_strange_images_end_soon(kaggles):
    "Blank, equal, faint and empty sets; a crowd of images that resemble each other."
    x, blank, rng = kaggles[0], np.zeros((2000, 28, 28), np.uint8), np.random.default_rng(0)
    started = time.process_time()
    assert len(find_copies(blank, blank)) == 2000 and len(find_copies(x[:5], blank)) == 0
    assert len(find_copies(x[:0], x[:9])) == len(find_copies(x[:9], x[:0])) == 0
    faint = (x[:3000] > 127).astype(np.uint8)
    assert len(find_copies(faint[:1000], faint[1000:])) < 20
    crowd = noisy(np.repeat(x[:1], 3000, 0), rng, most=20)
    assert len(find_copies(crowd[:1000], crowd[1000:])) == 0
    assert time.process_time() - started < 30


def test_the_whole_search_is_cheap(kaggles):
    "42,000 by 28,000 digits; .7 CPU-seconds on a quiet machine."
    started = time.process_time()
    assert len(find_copies(kaggles[2], kaggles[0])) == 0
    assert time.process_time() - started < 5


def test_nothing_in_mnist_is_a_copy(mnist):
    "No deal has copies by chance: none of the 70,000 images occurs twice, or nearly twice in the two halves."
    x = mnist[0]
    assert find_duplicates(x) == []
    assert len(find_copies(x[:35_000], x[35_000:])) == 0


# What is said


def test_run_json_has_the_copies(kaggles):
    x, y, x_test, _ = kaggles
    joined = as_csv(np.concatenate([x[:900], x_test[:20]]), np.concatenate([y[:900], y[:20]]), x_test[:500])
    assert data_info(joined)["copies"] == {"compared": 500, "among": 920, "exact": 20, "near": 0, "within": COPY_DISTANCE, "share": 0.04}
    text = copies_text(joined.copies)
    assert text.startswith("20 of 500 digits to predict are copies") and max(map(len, text.split("\n"))) <= 68


@pytest.mark.parametrize("copies, sent", [(0, True), (COPIES_FEW, True), (28, True), (29, False), (28_000, False)])
def test_submit_refuses_more_than_one_in_a_thousand(copies, sent, tmp_path):
    finished = make_run(tmp_path / "run", copies=copies)
    assert (copies_note(finished) == "") == (copies == 0)
    if sent:
        prepare_upload(finished)
    else:
        with pytest.raises(InputError, match=f"{copies:,} of 28,000 digits to predict are copies .* --copies-anyway"):
            prepare_upload(finished)
        prepare_upload(finished, copies=True)


def test_the_console_tells_copies_and_rehearsals(tmp_path):
    from digit_recognizer.cli import summary_text

    told = {name: summary_text(make_run(tmp_path / name, **how)) for name, how in {"honest": {}, "copies": {"copies": 5}, "rehearsal": {"rehearsal": True}}.items()}
    assert {name: ("copies of labelled" in text, "holds Kaggle's answers" in text) for name, text in told.items()} == {
        "honest": (False, False), "copies": (True, False), "rehearsal": (False, True)}  # fmt: skip


def test_a_run_on_honest_files_prints_no_warning(tmp_path, kaggles):
    "From a fresh process."
    x, y, x_test, _ = kaggles
    order = np.argsort(y[:1200], kind="stable")
    export_csv(as_csv(x[order], y[order], x_test[:300]), tmp_path / "kaggle")
    done = run(["run", "--data", tmp_path / "kaggle", "--recipe", "tiny", "--set", "epochs=1", "--quiet", "--no-report", "--out", tmp_path / "run"])
    assert done.returncode == 0, done.stderr
    assert "Kaggle's answers" not in done.stdout and "copies" not in done.stdout
    data = load_run(tmp_path / "run").info["data"]
    assert not data["rehearsal"] and (data["copies"]["exact"], data["copies"]["near"]) == (0, 0)


def test_an_old_run_says_that_copies_were_not_counted(tmp_path):
    finished = make_run(tmp_path / "run")
    del finished.info["data"]["copies"]
    assert "were not counted" in copies_note(finished)
    prepare_upload(finished)
    embedded = Run(finished.folder, {**finished.info, "data": {**finished.info["data"], "source": "embedded"}})
    assert copies_note(embedded) == ""


def test_the_summary_counts_kinds(ours):
    x = ours[0][:100]
    among = np.concatenate([x[:3], noisy(x[3:8], np.random.default_rng(0))])
    assert copies_summary(find_copies(x, among), 100, 8) | {"share": 0} == {
        "compared": 100, "among": 8, "exact": 3, "near": 5, "within": COPY_DISTANCE, "share": 0}  # fmt: skip
