"""The eleventh answer: the rejector's file, its scores by numpy, by Keras and by the page, and what the commands say of letters."""
import json
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
from browsing import chromium
from PIL import Image, ImageDraw, ImageFont
from test_web import encoded, open_page

from digit_recognizer.core.files import InputError
from digit_recognizer.core.network import parse_network
from digit_recognizer.data import load_embedded
from digit_recognizer.images.read import DOUBT_CONFIDENCE, NOT_A_DIGIT, read_picture
from digit_recognizer.images.rejector import CLASSES, load_rejector, read_rejector
from digit_recognizer.preprocess import split
from digit_recognizer.runs.export import small_model
from digit_recognizer.runs.folder import pretrained_run
from digit_recognizer.web.page import write_page

SHIPPED = files("digit_recognizer") / "rejector"


@pytest.fixture(scope="module")
def rejector():
    return load_rejector()


@pytest.fixture(scope="module")
def images(root):
    "Digits, letters, noise, full and empty images, uint8 (n, 28, 28)."
    with np.load(root / "nbs/results/rejector/fonts.npz") as z:
        letters = z["letters, handwriting"][::4]
    noise = np.random.default_rng(0).integers(0, 256, (20, 28, 28)).astype(np.uint8)
    ends = np.stack([np.zeros((28, 28), np.uint8), np.full((28, 28), 255, np.uint8)])
    return np.concatenate([load_embedded().x_test[:100], letters, noise, ends])


def sheet(rows, size=60):
    "Rows of text in Pillow's own font, far apart, on white paper."
    paper = Image.new("L", (60 + 110 * max(map(len, rows)), 40 + 110 * len(rows)), 255)
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(size)
    for i, text in enumerate(rows):
        for j, char in enumerate(text):
            pen.text((60 + 110 * j, 90 + 110 * i), char, 20, font, anchor="ms")
    return paper


def test_the_file_is_small_and_what_its_record_says(rejector):
    import hashlib

    content, record = (SHIPPED / "network.json").read_bytes(), json.loads((SHIPPED / "record.json").read_bytes())
    assert len(content) <= 300_000
    assert hashlib.sha256(content).hexdigest() == record["sha256"]
    assert record["threshold"] == rejector.threshold
    assert set(record) >= {"seed", "epochs", "filters", "fonts", "licences", "images", "threshold_set"}
    parts = [{name for names in record["fonts"][part].values() for name in names} for part in ("training", "validation", "test")]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_the_threshold_is_that_of_the_validation_digits(rejector):
    digits, record = load_embedded(), json.loads((SHIPPED / "record.json").read_bytes())
    scores = rejector.scores(digits.x[split(digits.y, 0.2, 0)[1]])
    assert len(scores) == record["validation"]["n"]
    assert abs((scores >= rejector.threshold).sum() - record["validation"]["refused"]) <= 1  # numpy can round differently
    assert (scores >= rejector.threshold).mean() <= 0.003 + 1 / len(scores)


def test_scores_are_those_of_keras(rejector, images):
    "The same operations as Keras layers."
    import keras
    from keras import layers

    inputs = keras.Input((28, 28, 1))
    values, pairs = [inputs], []
    for o in rejector.model.net:
        x = values[o["from"][0]]
        if o["op"] == "conv": layer = layers.Conv2D(o["kernel"].shape[-1], o["kernel"].shape[:2], padding="same", activation=o["then"])
        elif o["op"] == "dense": layer = layers.Dense(o["kernel"].shape[-1], activation=o["then"])
        elif o["op"] == "pool": layer = layers.MaxPooling2D(o["size"], o["stride"])
        elif o["op"] == "rescale": layer = layers.Rescaling(o["by"], o["plus"])
        elif o["op"] == "flat": layer = layers.Flatten()
        elif o["op"] == "apply": layer = layers.Activation(o["then"])
        else: raise AssertionError(o["op"])
        values.append(layer(x))
        if "kernel" in o: pairs.append((layer, o))
    for layer, o in pairs: layer.set_weights([o["kernel"], o["bias"]])
    proba = keras.Model(inputs, values[-1]).predict_on_batch(images[..., None].astype(np.float32))
    assert proba.shape == (len(images), CLASSES)
    assert abs(rejector.scores(images) - proba[:, -1]).max() < 1e-4


def test_scores_do_not_depend_on_the_number_of_images(rejector, images):
    together = rejector.scores(images)
    alone = np.concatenate([rejector.scores(images[i : i + 1]) for i in range(0, len(images), 7)])
    assert abs(together[::7] - alone).max() < 1e-5
    assert rejector.scores(images[:0]).shape == (0,) and together.dtype == np.float32


def test_digits_pass_and_letters_do_not(rejector, images):
    refused = rejector.scores(images) >= rejector.threshold
    assert refused[:100].mean() <= 0.02
    assert refused[100:195].mean() >= 0.8
    assert refused[195:].all()


@pytest.mark.parametrize("name", ["network.json", "record.json"])
@pytest.mark.parametrize("change", ["missing", "empty", "half", "other"])
def test_a_damaged_file_is_told_in_a_line(name, change, tmp_path):
    for path in ("network.json", "record.json"): (tmp_path / path).write_bytes((SHIPPED / path).read_bytes())
    content = (SHIPPED / name).read_bytes()
    if change == "missing": (tmp_path / name).unlink()
    else: (tmp_path / name).write_bytes({"empty": b"", "half": content[: len(content) // 2], "other": b'{"a": 1}'}[change])
    with pytest.raises(InputError, match=name) as told: read_rejector(tmp_path)
    assert "install the package again" in str(told.value) and "\n" not in str(told.value) and len(str(told.value)) < 300


def test_a_network_of_ten_answers_is_refused():
    with pytest.raises(InputError, match=r"expected \(1, 11\)"):
        parse_network((files("digit_recognizer") / "reader/network.json").read_bytes(), CLASSES)


def test_letters_of_a_page_are_marked_and_stay(rejector):
    model, paper = small_model(pretrained_run()), sheet(["3 5 7", "K H A", "4 2 8"])
    plain, page = read_picture(paper, model), read_picture(paper, model, rejector)
    assert len(page.readings) == len(plain.readings) == 9
    assert [r.digit for r in page.readings] == [r.digit for r in plain.readings]
    np.testing.assert_array_equal([r.proba for r in page.readings], [r.proba for r in plain.readings])
    letters, digits = page.lines[1], page.lines[0] + page.lines[2]
    assert {r.doubt for r in letters} == {NOT_A_DIGIT}
    assert all(r.confidence <= DOUBT_CONFIDENCE for r in letters)
    assert not any(r.doubt == NOT_A_DIGIT for r in digits)


def test_the_sample_sheet_has_no_new_doubt(rejector, root):
    page = read_picture(Image.open(root / "nbs/samples/sheet.png"), small_model(pretrained_run()), rejector)
    assert str(page).split() == (root / "nbs/samples/sheet.txt").read_text().split()
    assert page.doubts.get(NOT_A_DIGIT, 0) == 0


def test_the_command_marks_letters_without_tensorflow(tmp_path):
    sheet(["3 5 7", "K H A"]).save(tmp_path / "page.png")
    code = ("import sys; from digit_recognizer.cli import main; args = ['read', 'page.png', '--csv', 'out.csv', '--quiet']\n"
            "sys.argv[1:] = args\ntry: main()\nexcept SystemExit as e: assert not e.code, e\n"
            "assert not {'tensorflow', 'keras'} & set(sys.modules)")
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert f"in doubt: 3 {NOT_A_DIGIT}" in told.stdout
    rows = (tmp_path / "out.csv").read_text().splitlines()[1:]
    assert sum(NOT_A_DIGIT in row for row in rows) == 3 and len(rows) == 6


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.xdist_group("web")
def test_the_page_has_the_same_scores_and_says_so(rejector, images, tmp_path):
    write_page(pretrained_run(), tmp_path / "try.html")
    with chromium() as browser:
        page = open_page(browser, (tmp_path / "try.html").as_uri(), viewport={"width": 1280, "height": 900})
        scores = page.evaluate("""text => { const all = Uint8Array.from(atob(text), c => c.charCodeAt(0)), out = [];
            for (let i = 0; i < all.length; i += 784) out.push(forward(model.rejector.network, all.subarray(i, i + 784)).at(-1));
            return [out, model.rejector.threshold]; }""", encoded(images))
        assert scores[1] == rejector.threshold
        assert abs(np.array(scores[0]) - rejector.scores(images)).max() < 1e-3
        for text, head in (("K", "Not a digit?"), ("3", "3")):
            paper = sheet([text], 90)
            paper.save(tmp_path / "one.png")
            page.set_input_files("#file", tmp_path / "one.png")
            page.wait_for_function("head => document.querySelector('.head').textContent === head", arg=head, timeout=5000)
        assert not page.wrong
        page.context.close()
