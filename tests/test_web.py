"""The page that reads drawn digits, in Chromium: it computes what Keras computes and normalises as Python does. It reads
MNIST's digits as pictures and as strokes, fetches nothing, and does not scroll while a finger draws."""
import base64
import json
import re
import zlib
from io import BytesIO

import numpy as np
import pytest
from browsing import DESK, PHONE, chromium, screenshot_folder, serve
from PIL import Image
from playwright.sync_api import expect

from digit_recognizer.analysis.explain import occlusion_map
from digit_recognizer.core.backend import silence_tensorflow
from digit_recognizer.core.network import NetworkModel, pack
from digit_recognizer.core.predict import predict
from digit_recognizer.images.normalise import NORMALISER
from digit_recognizer.runs.folder import pretrained_run
from digit_recognizer.runs.network import fuse_batch_norms, operations
from digit_recognizer.web.page import PageModel, drawing_field, field_script, write_page

NEIGHBOURS = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]  # clockwise from above
BYTES = "const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));"
FORWARD = BYTES + """
    const net = about ? {operations: about.operations, weights: unpack(about.data, about.weights)} : model.network, all = bytes(text), out = [];
    const began = performance.now();
    for (let i = 0; i < all.length; i += 784) out.push(Array.from(forward(net, all.subarray(i, i + 784))));
    return [out, (performance.now() - began) / out.length];"""
NORMALISED = BYTES + """
    const values = bytes(text), pixels = channels === 4 ? values : new Uint8Array(4 * values.length);
    if (channels !== 4) values.forEach((p, i) => pixels.set([p, p, p, 255], 4 * i));
    try { return {seen: Array.from(normalise(toGrey(pixels, w, h)).v)}; }
    catch (e) { if (e instanceof Refusal) return {refused: `drawing: ${e.message}`}; throw e; }"""
OPENED = """async png => { await open(new Blob([Uint8Array.from(atob(png), c => c.charCodeAt(0))], {type: 'image/png'}));
    return document.querySelector(".spoken").textContent; }"""
TIMED = """() => { const image = drawing.pixels();
    return Array.from({length: 20}, () => { const began = performance.now(); read(model, image); return performance.now() - began; }); }"""
UPDATED = """() => Array.from({length: 20}, () => { const began = performance.now(); drawing.update(true); return performance.now() - began; })"""
TRACED = BYTES + """
    const net = about ? {operations: about.operations, weights: unpack(about.data, about.weights)} : model.network;
    return trace(net, bytes(text)).map(({shape, v}) => [shape, Array.from(v)]);"""
LIMITS_SEEN = "Object.fromEntries(Object.entries(LIMITS).map(([name, [low, high]]) => [name, [low, high]]))"

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("web")]


def encoded(a):
    return base64.b64encode(np.ascontiguousarray(a).tobytes()).decode()


def decoded(text):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


def png(a):
    Image.fromarray(a).save(out := BytesIO(), "PNG")
    return base64.b64encode(out.getvalue()).decode()


def blown_up(img, by):
    return np.kron(img, np.ones((by, by), np.uint8))


def open_page(browser, address, **options):
    "A page in a context of its own; what it requests and reports goes to `page.wrong`."
    context = browser.new_context(**options)
    page = context.new_page()
    page.wrong = wrong = []
    page.on("request", lambda r: r.url != address and not r.url.startswith("blob:") and wrong.append(f"request: {r.url[:80]}"))
    page.on("pageerror", lambda e: wrong.append(f"error: {e}"))
    page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(f"console: {m.text}"))
    page.goto(address, wait_until="load")
    return page


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "A folder with the page of the pretrained run."
    folder = tmp_path_factory.mktemp("page")
    write_page(pretrained_run(), folder / "try.html")
    return folder


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, folder):
    "The page on a desk, opened as a file; it must request nothing and report no error."
    page = open_page(browser, (folder / "try.html").as_uri(), viewport={"width": DESK, "height": 900})
    yield page
    wrong = page.wrong
    page.context.close()
    assert not wrong


@pytest.fixture
def phone(browser, folder):
    "The page on a phone in the dark, from a server."
    options = {"has_touch": True, "is_mobile": True, "device_scale_factor": 3, "color_scheme": "dark"}
    with serve(folder) as address:
        page = open_page(browser, f"{address}/try.html", viewport={"width": PHONE, "height": 700}, **options)
        yield page
        wrong = page.wrong
        page.context.close()
    assert not wrong


def forward(page, x, about=None):
    "Probabilities of the page, and milliseconds an image; of another network where `about` tells one."
    out, ms = page.evaluate(f"([text, about]) => {{{FORWARD}}}", [encoded(x), about])
    return np.array(out), ms


def test_probabilities_are_those_of_keras(page, digits):
    x = digits.x_test[:1000]
    proba = predict(pretrained_run().model, x)
    found, ms = forward(page, x)
    assert abs(found - proba).max() < 1e-3
    assert (found.argmax(1) == proba.argmax(1)).all()
    assert ms < 50


def other_layers():
    "What a network of the user's can hold besides."
    import keras
    from keras import layers

    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(6, 5, strides=2, padding="same", activation="silu")(layers.Rescaling(1 / 255)(inputs))
    x = layers.Conv2D(6, (3, 4), strides=(1, 2), activation="elu")(layers.LeakyReLU()(x))
    gate = layers.Conv2D(6, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, gate])
    x = layers.Concatenate()([layers.AveragePooling2D(2)(x), layers.MaxPooling2D(2)(x)])
    x = layers.Conv2D(8, 4, strides=3, padding="same", activation="tanh")(x)
    ends = [layers.GlobalMaxPooling2D()(x), layers.GlobalAveragePooling2D()(x), layers.Reshape((-1,))(x)]
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.Concatenate()(ends)))


def networks():
    "One of each kind that a run can hold."
    from digit_recognizer.model import build, ensemble, with_temperature, with_tta

    nets = {name: build(name, 4, seed=1) for name in ("residual", "plain", "classic")}
    return nets | {"other layers": other_layers(), "calibrated": with_temperature(nets["residual"], 0.6), "tta": with_tta(nets["plain"], 5),
                   "ensemble": ensemble([nets["residual"], nets["plain"]])}


def test_every_kind_of_network(page, digits):
    x = digits.x_test[:20]
    with silence_tensorflow():
        for name, net in networks().items():
            found, _ = forward(page, x, pack(fuse_batch_norms(operations(net))))
            assert abs(found - predict(net, x)).max() < 1e-3, name


def traced(page, img, about=None):
    "Every value that the page computes for an image; of another network where `about` tells one."
    return [np.array(v).reshape(shape) for shape, v in page.evaluate(f"([text, about]) => {{{TRACED}}}", [encoded(img), about])]


def same_operation(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def values_of_layers(net, operations_of, ops):
    "Layers of a network -> the number of the value that each gives, among the operations `ops`; without layers that have none."
    import keras

    found = {}
    for layer in net.layers:
        own = operations_of(keras.Model(net.inputs, layer.output))
        if len(own) <= len(ops) and all(map(same_operation, own, ops)):
            found[layer] = len(own)
    return found


def keras_values(net, layers, img):
    import keras

    outputs = keras.Model(net.inputs, [layer.output for layer in layers])([img[None, ..., None].astype("float32")])
    return [np.asarray(value)[0] for value in outputs]


def layered_networks():
    "Networks without networks inside, and the operations that come after each: the pretrained one, then others."
    from digit_recognizer.model import build

    calibrated = pretrained_run().model
    return {"pretrained": (next(layer for layer in calibrated.layers if hasattr(layer, "layers")), operations(calibrated)),
            **{name: (net := build(name, 6, seed=2), operations(net)) for name in ("residual", "classic")}}


def test_each_layer_is_that_of_keras(page, digits):
    with silence_tensorflow():
        for name, (net, ops) in layered_networks().items():
            numbers = values_of_layers(net, operations, ops)
            assert list(numbers) == net.layers, name
            for img in digits.x_test[:2]:
                values = traced(page, img, pack(ops, np.inf))
                for layer, right in zip(net.layers, keras_values(net, net.layers, img)):
                    found = values[numbers[layer]]
                    assert found.shape == right.shape, (name, layer.name)
                    assert abs(found - right).max() < 1e-5 * max(1, abs(right).max()), (name, layer.name)


def test_the_layers_of_the_page_are_those_of_keras(page, digits):
    "Where normalisations are taken into convolutions and weights are rounded to float16."
    with silence_tensorflow():
        net, ops = layered_networks()["pretrained"]
        numbers = values_of_layers(net, lambda part: fuse_batch_norms(operations(part)), fuse_batch_norms(ops))
        assert {type(layer).__name__ for layer in numbers} >= {"ReLU", "Add", "GlobalAveragePooling2D", "Dense"}
        shown = page.evaluate("layersOf(model.network).layers.map(layer => layer.at)")
        assert len(set(numbers.values()) & set(shown)) > len(shown) / 2
        for img in digits.x_test[:2]:
            values = traced(page, img)
            for (layer, number), right in zip(numbers.items(), keras_values(net, list(numbers), img)):
                assert abs(values[number] - right).max() < 5e-3 * max(1, abs(right).max()), layer.name


def test_the_map_of_the_answer_is_that_of_python(page, folder, digits):
    net = NetworkModel(PageModel(folder / "try.html").net)
    for img in digits.x_test[:3]:
        label = int(predict(net, img[None]).argmax())
        found = page.evaluate(f"async ([text, digit]) => {{{BYTES} return Array.from(await occlusionMap(model.network, bytes(text), digit)); }}", [encoded(img), label])
        assert abs(np.reshape(found, (28, 28)) - occlusion_map(net, img, label, stride=2)).max() < 1e-2


def test_golden_examples(page, root):
    golden = json.loads((root / "nbs/results/golden.json").read_text())
    assert golden["normaliser"] == NORMALISER == page.evaluate("NORMALISER")
    assert golden["limits"] == page.evaluate(LIMITS_SEEN)
    for e in golden["examples"]:
        h, w, *channels = e["shape"]
        args = [encoded(decoded(e["picture"])), w, h, *channels]
        found = page.evaluate(f"([text, w, h, channels]) => {{{NORMALISED}}}", args)
        assert e.get("refused") == found.get("refused"), e["name"]
        if "seen" in e:
            apart = abs(np.array(found["seen"]) - decoded(e["seen"]).astype(int)).max()
            assert apart <= ("uneven" in e["name"]), e["name"]


def answer(words):
    "The digit that was spoken, sure or not; None for a refusal."
    found = [word.strip(".") for word in words.replace("Perhaps", "It is").split("It is ")[1:]]
    return int(found[0][0]) if found else None


def read_pictures(page, x, rng):
    "Answers to digits blown up 1 to 12 times, anywhere in a larger picture, dark on light or light on dark."
    answers = []
    for i, img in enumerate(x):
        big = blown_up(img, int(rng.integers(1, 13)))
        a = np.pad(big, [(int(rng.integers(0, 40)), int(rng.integers(0, 40))) for _ in "rc"])
        answers.append(answer(page.evaluate(OPENED, png(255 - a if i % 2 else a))))
    return answers


def test_pictures_are_read(page, digits):
    x, y = digits.x_test[1000:1100], digits.y_test[1000:1100]
    answers = read_pictures(page, x, np.random.default_rng(0))
    assert sum(a == b for a, b in zip(answers, y)) >= 98


@pytest.mark.parametrize("level", [0, 200, 255])
def test_a_pen_on_a_transparent_picture_is_read(page, digits, level):
    ink = blown_up(digits.x[0], 9)
    picture = np.dstack([np.full((*ink.shape, 3), level, np.uint8), ink])
    assert answer(page.evaluate(OPENED, png(picture))) == digits.y[0]


def skeleton(ink):
    "The skeleton of a figure (Zhang and Suen 1984)."
    a = np.pad(ink, 1).astype(int)
    while True:
        before = a.sum()
        for first in (True, False):
            p = np.array([np.roll(a, (-r, -c), (0, 1)) for r, c in NEIGHBOURS])
            turns = ((p == 0) & (np.roll(p, -1, 0) == 1)).sum(0)
            n, e, s, w = p[0], p[2], p[4], p[6]
            open_ = (n * e * s == 0) & (e * s * w == 0) if first else (n * e * w == 0) & (n * s * w == 0)
            a = np.where((a == 1) & (p.sum(0) >= 2) & (p.sum(0) <= 6) & (turns == 1) & open_, 0, a)
        if a.sum() == before:
            return a[1:-1, 1:-1]


def neighbours(p, among):
    "The places beside p, the nearest first."
    return [q for q in ((p[0] + r, p[1] + c) for r, c in sorted(NEIGHBOURS, key=lambda d: abs(d[0]) + abs(d[1]))) if q in among]


def strokes(img):
    "A digit's middle lines as a hand could draw them: lists of places (row, column), by walking the skeleton."
    left = {tuple(map(int, p)) for p in np.argwhere(skeleton(blown_up(img, 2) > 127))}
    every, lines = set(left), []
    while left:
        ends = [p for p in sorted(left) if len(neighbours(p, left)) <= 1]
        line = [ends[0] if ends else min(left)]
        left.discard(line[0])
        while nexts := neighbours(line[-1], left):
            line.append(nexts[0])
            left.discard(line[-1])
        for end in (0, -1):  # join what the walk cut
            joined = [q for q in neighbours(line[end], every) if q not in line[:3] + line[-3:]]
            if joined:
                line.insert(0 if not end else len(line), joined[0])
        if len(line) > 3 or not lines:
            lines.append(line[:-1:3] + line[-1:])
    return lines


def draw(page, points, button="left"):
    "Draw a line with the mouse through points (row, column), in pixels of the page."
    for k, (r, c) in enumerate(points):
        page.mouse.move(c, r)
        if not k:
            page.mouse.down(button=button)
    page.mouse.up(button=button)


def draw_digit(page, img, rng):
    "Draw a digit by the mouse, at 35 to 95% of the canvas, anywhere on it."
    lines = strokes(img)
    places = np.concatenate([np.array(line) for line in lines]).astype(float)
    low, span = places.min(0), max(np.ptp(places, 0).max(), 1)
    box = page.locator(".draw").bounding_box()
    size = rng.uniform(0.35, 0.95) * (box["width"] - 30)
    room = box["width"] - 30 - np.ptp(places, 0) / span * size
    corner = np.array([box["y"], box["x"]]) + 15 + rng.uniform(0, 1, 2) * room
    for line in lines:
        draw(page, [corner + (np.array(p) - low) / span * size for p in line])


def test_strokes_are_read(page, digits):
    x, y, rng, answers = digits.x_test[1000:1100], digits.y_test[1000:1100], np.random.default_rng(1), []
    for img in x:
        if page.locator(".clear").is_enabled():
            page.locator(".clear").click(force=True)
        draw_digit(page, img, rng)
        answers.append(answer(page.locator(".spoken").text_content()))
    assert sum(a == b for a, b in zip(answers, y)) >= 95  # a skeleton has lost some of the digit
    assert np.median(page.evaluate(TIMED)) < 50  # milliseconds from a drawing to its answer
    assert min(page.evaluate(UPDATED)) < 10 * min(page.evaluate(TIMED))  # what is shown costs little beside what is computed


def draw_on_pad(page, *points, button="left"):
    "Draw a line through points given as shares of the canvas."
    pad = page.locator(".draw").bounding_box()
    draw(page, [(pad["y"] + r * pad["height"], pad["x"] + c * pad["width"]) for r, c in points], button)


def test_undo_and_clear(page):
    spoken = page.locator(".spoken")
    assert "Draw one digit" in page.locator(".more").text_content() and page.locator(".clear").is_disabled()
    draw_on_pad(page, (0.2, 0.5), (0.8, 0.5))
    assert spoken.text_content().startswith("It is 1")
    draw_on_pad(page, (0.2, 0.25), (0.2, 0.5))
    page.keyboard.press("Control+z")
    assert spoken.text_content().startswith("It is 1")
    page.locator(".undo").focus()
    page.keyboard.press("Enter")
    assert "Draw one digit" in spoken.text_content()


def draw_four(page):
    draw_on_pad(page, (0.15, 0.35), (0.5, 0.25), (0.5, 0.7))
    draw_on_pad(page, (0.2, 0.6), (0.85, 0.58))


def ghosts(page):
    "The digits whose earlier probability is shown."
    return page.evaluate("[...document.querySelectorAll('.bars i')].flatMap((ghost, digit) => ghost.hidden ? [] : [digit])")


def test_an_eraser_changes_the_answer(page):
    spoken, words = page.locator(".spoken"), "It is 4"
    draw_four(page)
    assert spoken.text_content().startswith(words)
    full = page.evaluate("Array.from(read(model, drawing.pixels()).proba)")
    page.locator(".eraser").click()
    assert page.locator(".eraser").get_attribute("aria-pressed") == "true"
    draw_on_pad(page, (0.2, 0.6), (0.4, 0.6), (0.6, 0.59), (0.85, 0.58))  # its upright
    assert not spoken.text_content().startswith(words) and "Before: 4 (" in spoken.text_content()
    page.keyboard.press("Control+z")
    assert spoken.text_content().startswith(words)
    assert page.evaluate("Array.from(read(model, drawing.pixels()).proba)") == full
    draw_on_pad(page, (0.5, 0.4), (0.5, 0.4))  # a tap takes the other stroke away, and a 1 is left
    assert spoken.text_content().startswith("It is 1") and ghosts(page) == [4]
    assert page.evaluate("drawing.marks.length") == 1
    draw_on_pad(page, (0.9, 0.9), (0.9, 0.9))  # nothing is there
    assert page.evaluate("drawing.marks.length") == 1
    page.locator(".clear").click()
    draw_on_pad(page, (0.5, 0.5), (0.6, 0.6))  # nor here
    assert page.locator(".clear").is_disabled() and "Draw one digit" in spoken.text_content()


def test_the_right_button_erases_without_a_menu(page):
    page.evaluate("document.addEventListener('contextmenu', e => { window.menu = !e.defaultPrevented; })")
    draw_four(page)
    draw_on_pad(page, (0.2, 0.6), (0.4, 0.6), (0.6, 0.59), (0.85, 0.58), button="right")
    assert not page.locator(".spoken").text_content().startswith("It is 4") and page.evaluate("window.menu") is False


@pytest.mark.parametrize("dark_paper", [False, True])
def test_an_opened_picture_can_be_erased(page, digits, dark_paper):
    "What is erased becomes paper, of the colour that the picture has."
    ink = blown_up(digits.x[0], 9)
    page.evaluate(OPENED, png(ink if dark_paper else 255 - ink))
    before = page.evaluate("Array.from(drawing.pixels().data)")
    draw_on_pad(page, (0.5, 0.2), (0.5, 0.8), button="right")
    after = np.reshape(page.evaluate("Array.from(drawing.pixels().data)"), (*ink.shape, 4))
    assert np.reshape(before, after.shape)[126, 60:190, 0].std() > 20
    assert (after[126, 60:190] == [0 if dark_paper else 255] * 3 + [255]).all()
    draw_on_pad(page, (0.2, 0.5), (0.8, 0.5))
    assert page.locator(".spoken").text_content().startswith("It is 1")  # a pen begins a new drawing


def test_each_layer_shows_its_maps(page):
    tabs, title = page.get_by_role("tab"), page.locator("#maps h3")
    assert title.text_content() == "Conv 1: 16 feature maps of 28 × 28"
    assert page.locator(".map-sheet").get_attribute("aria-label") == "Nothing is drawn yet."
    draw_four(page)
    inked = "[...document.querySelectorAll('.map-sheet canvas')].map(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((a, b) => a + b))"
    assert page.evaluate(f"{inked}.filter(sum => sum > 0).length") == 16
    tabs.nth(1).focus()
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert title.text_content() == "ReLU 1: 16 feature maps of 14 × 14"
    page.keyboard.press("End")
    assert title.text_content() == "Dense 1: 10 numbers" and page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
    page.get_by_role("tab", name="Add 1").hover()
    assert title.text_content() == "Add 1: 32 feature maps of 7 × 7"
    assert "The sum of ReLU 2 and Conv 4" in page.locator("#maps p").text_content()
    assert page.locator("[role=tab][tabindex='0']").count() == 1
    expect(page.locator("#why canvas")).to_have_attribute("aria-label", re.compile("speaks for the answer 4: most in"))
    page.locator(".clear").click()
    assert page.locator("#why canvas").get_attribute("aria-label") == "Nothing is drawn yet."


def test_the_layers_of_an_average_are_those_of_the_first(page):
    with silence_tensorflow():
        nets = networks()
        for name, many in (("residual", 1), ("calibrated", 1), ("tta", 5), ("ensemble", 2)):
            about = pack(fuse_batch_norms(operations(nets[name])))
            found = page.evaluate("({operations}) => layersOf({operations})", about)
            assert found["averaged"] == many and sum(layer["name"].startswith("Dense") for layer in found["layers"]) == 1, name


def test_the_field_alone(browser, tmp_path):
    "On a page of its own kind, from a disk; it takes no key that is not meant for it."
    (tmp_path / "field.js").write_text(field_script(pretrained_run()), encoding="utf-8")
    (tmp_path / "home.html").write_text(f"<!doctype html><meta charset=utf-8><body>{drawing_field()}<input></body>", encoding="utf-8")
    page = open_page(browser, (tmp_path / "home.html").as_uri(), viewport={"width": DESK, "height": 900})
    expect(page.locator(".head")).to_have_text("2")  # an example is written first, and nothing is spoken
    expect(page.locator(".undo")).to_be_enabled()
    assert page.locator(".spoken").text_content() == ""
    draw_on_pad(page, (0.2, 0.5), (0.8, 0.5))
    assert page.locator(".spoken").text_content().startswith("It is 1") and "Before" not in page.locator(".more").text_content()
    page.keyboard.press("Escape")
    assert page.locator(".clear").is_disabled()
    draw_four(page)
    assert page.locator(".spoken").text_content().startswith("It is 4") and page.locator(".bars tr").count() == 10
    page.locator("input").press("Escape")
    assert page.locator(".clear").is_enabled()
    page.locator(".clear").press("Escape")
    assert page.locator(".clear").is_disabled()
    assert page.evaluate("typeof mount") == "undefined"
    assert [w for w in page.wrong if "field.js" not in w] == []
    page.context.close()


def test_the_field_speaks_the_language_of_its_page(browser, tmp_path):
    (tmp_path / "field.js").write_text(field_script(pretrained_run()), encoding="utf-8")
    (tmp_path / "zh.html").write_text(f"<!doctype html><html lang=zh><meta charset=utf-8><body>{drawing_field()}</body>", encoding="utf-8")
    page = open_page(browser, (tmp_path / "zh.html").as_uri(), viewport={"width": DESK, "height": 900}, reduced_motion="reduce")
    assert page.locator(".head").text_content() == "2" and page.locator(".clear").text_content() == "清除"  # at once: nothing moves
    assert re.fullmatch(r"模型的把握是 \d+\.\d%。", page.locator(".more").text_content())
    draw_four(page)
    assert page.locator(".spoken").text_content().startswith("是 4。") and "之前：" in page.locator(".more").text_content()
    page.context.close()


def test_refusals(page):
    spoken = page.locator(".spoken")
    draw_on_pad(page, (0.5, 0.5), (0.5, 0.5))
    assert "a blot or a dot" in spoken.text_content() and page.locator(".clear").is_enabled()
    draw_on_pad(page, *((0.35 + 0.03 * k, 0.35 + 0.3 * (k % 2)) for k in range(11)))
    assert "a blot" in spoken.text_content()
    assert page.locator(".head").text_content() == "No answer"
    page.locator(".clear").click()
    page.keyboard.press("Control+z")
    assert "a blot" in spoken.text_content()


def test_opened_files(page, digits):
    spoken, file = page.locator(".spoken"), page.locator("#file")
    file.set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"not a picture"})
    expect(spoken).to_contain_text("notes.txt")
    picture = base64.b64decode(png(255 - blown_up(digits.x[0], 9)))
    file.set_input_files({"name": "digit.png", "mimeType": "image/png", "buffer": picture})
    expect(spoken).to_contain_text(f"It is {digits.y[0]}")
    page.evaluate("tell({seen: new Uint8Array(784), proba: [.4, .3, .1, .1, .1, 0, 0, 0, 0, 0]}, true)")
    assert spoken.text_content().startswith(f"Not sure. Perhaps 0 (40.0%) or 1 (30.0%). Before: {digits.y[0]} (")


def test_a_finger_draws_and_the_page_does_not_scroll(phone, digits, pytestconfig):
    assert phone.evaluate("document.documentElement.scrollWidth") == PHONE
    pad = phone.locator(".draw").bounding_box()
    cdp, x = phone.context.new_cdp_session(phone), pad["x"] + pad["width"] / 2
    places = [{"x": x, "y": pad["y"] + (0.8 - 0.02 * k) * pad["height"]} for k in range(31)]  # a 1 from below
    for k, place in enumerate(places):
        cdp.send("Input.dispatchTouchEvent", {"type": "touchMove" if k else "touchStart", "touchPoints": [place]})
    cdp.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(phone.locator(".spoken")).to_contain_text("It is 1")
    assert phone.evaluate("scrollY") == 0 and phone.evaluate("document.documentElement.scrollHeight") > 700
    assert read_pictures(phone, digits.x_test[1000:1001], np.random.default_rng(0)) == [digits.y_test[1000]]
    screens = screenshot_folder(pytestconfig)
    if screens:
        phone.screenshot(path=screens / "try-390.png", full_page=True)


def test_the_page_on_a_desk(page, digits, pytestconfig):
    read_pictures(page, digits.x_test[1000:1001], np.random.default_rng(0))
    screens = screenshot_folder(pytestconfig)
    if screens:
        page.screenshot(path=screens / "try-1280.png", full_page=True)


def test_the_policy_of_the_page_refuses_requests(browser, folder):
    page = open_page(browser, (folder / "try.html").as_uri())
    assert page.evaluate("() => fetch('https://example.org/').then(() => false, () => true)")
    assert any("Content Security Policy" in w for w in page.wrong) and all("example.org" in w for w in page.wrong)
    page.context.close()
