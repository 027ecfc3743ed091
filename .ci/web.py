"""The page that reads drawn digits, in Chromium: it computes what Keras computes and normalises as Python does; it reads
MNIST's digits as pictures and as strokes; it fetches nothing and does not scroll while a finger draws. With a folder as
argument, screenshots are left there."""
import base64
import functools
import json
import shutil
import sys
import tempfile
import threading
import zlib
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
from browser import FLAGS, Quiet
from playwright.sync_api import expect, sync_playwright

from digit_recognizer.data import load_embedded
from digit_recognizer.drawings import NORMALISER
from digit_recognizer.model import build, calibrated, ensemble, look_around
from digit_recognizer.preprocess import quiet_tensorflow
from digit_recognizer.runs import shipped_run
from digit_recognizer.submit import predict
from digit_recognizer.web import fold_norms, operations, pack, write_page

NEIGHBOURS = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]  # clockwise from above
BYTES = "const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));"
FORWARD = BYTES + """
    const net = about ? {operations: about.operations, weights: unpack(about.data, about.weights)} : network, all = bytes(text), out = [];
    const began = performance.now();
    for (let i = 0; i < all.length; i += 784) out.push(Array.from(forward(net, all.subarray(i, i + 784))));
    return [out, (performance.now() - began) / out.length];"""
NORMALISED = BYTES + """
    const grey = bytes(text), pixels = new Uint8Array(4 * grey.length);
    grey.forEach((p, i) => pixels.set([p, p, p, 255], 4 * i));
    try { return {seen: Array.from(normalise(toGrey(pixels, w, h)).v)}; }
    catch (e) { if (e instanceof Refusal) return {refused: `drawing: ${e.message}`}; throw e; }"""
OPENED = """async png => { await open(new Blob([Uint8Array.from(atob(png), c => c.charCodeAt(0))], {type: 'image/png'}));
    return document.getElementById('spoken').textContent; }"""


def text(a):
    return base64.b64encode(np.ascontiguousarray(a).tobytes()).decode()


def forward(page, x, about=None):
    "Probabilities of the page, and milliseconds an image; of another network where `about` tells one."
    out, ms = page.evaluate(f"([text, about]) => {{{FORWARD}}}", [text(x), about])
    return np.array(out), ms


def agreement(page, run, x):
    proba = predict(run.model, x)
    found, ms = forward(page, x)
    apart, differ = abs(found - proba).max(), int((found.argmax(1) != proba.argmax(1)).sum())
    print(f"agreement on {len(x):,} digits: probabilities within {apart:.1g}, {differ} other labels, {ms:.1f} ms a digit")
    assert apart < 1e-3 and not differ and ms < 50
    nets = {name: build(name, 4, seed=1) for name in ("residual", "plain", "classic")}
    nets |= {"calibrated": calibrated(nets["residual"], 0.6), "views": look_around(nets["plain"], 5), "ensemble": ensemble([nets["residual"], nets["plain"]])}
    with quiet_tensorflow():
        worst = max(abs(forward(page, x[:20], pack(fold_norms(operations(net))))[0] - predict(net, x[:20])).max() for net in nets.values())
    print(f"other networks, {', '.join(nets)}: within {worst:.1g}")
    assert worst < 1e-3


def golden(page):
    kept = json.loads(Path("nbs/results/golden.json").read_text())
    assert kept["normaliser"] == NORMALISER == page.evaluate("NORMALISER")
    assert kept["limits"] == page.evaluate("Object.fromEntries(Object.entries(LIMITS).map(([name, [low, high]]) => [name, [low, high]]))")
    apart = {"even": 0, "uneven": 0}
    for e in kept["examples"]:
        h, w = e["shape"]
        found = page.evaluate(f"([text, w, h]) => {{{NORMALISED}}}", [text(np.frombuffer(zlib.decompress(base64.b64decode(e["picture"])), np.uint8)), w, h])
        assert ("refused" in e) == ("refused" in found) and e.get("refused") == found.get("refused"), (e["name"], found)
        if "seen" in e:
            kind = "uneven" if "uneven" in e["name"] else "even"
            levels = np.frombuffer(zlib.decompress(base64.b64decode(e["seen"])), np.uint8).astype(int)
            apart[kind] = max(apart[kind], int(abs(np.array(found["seen"]) - levels).max()))
    print(f"{len(kept['examples'])} golden examples: grey levels apart on {apart}")
    assert apart["even"] == 0 and apart["uneven"] <= 1


def png(a):
    import io

    from PIL import Image

    Image.fromarray(a).save(out := io.BytesIO(), "PNG")
    return base64.b64encode(out.getvalue()).decode()


def said(words):
    "The digit that was spoken, sure or not; None for a refusal."
    found = [word.strip(".") for word in words.replace("Perhaps a", "It is a").split("It is a ")[1:]]
    return int(found[0][0]) if found else None


def as_pictures(page, x, y, rng):
    "Digits blown up 1 to 12 times, anywhere in a larger picture, dark on light or light on dark."
    answers = []
    for i, img in enumerate(x):
        by = int(rng.integers(1, 13))
        a = np.pad(np.kron(img, np.ones((by, by), np.uint8)), [(int(rng.integers(0, 40)), int(rng.integers(0, 40))) for _ in "rc"])
        answers.append(said(page.evaluate(OPENED, png(255 - a if i % 2 else a))))
    return sum(a == b for a, b in zip(answers, y)), answers


def thinned(ink):
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


def strokes(img):
    "A digit's middle lines as a hand could draw them: lists of places (row, column), by walking the skeleton."
    left, lines = {tuple(map(int, p)) for p in np.argwhere(thinned(np.kron(img, np.ones((2, 2))) > 127))}, []

    def near(p, among):
        return [q for q in ((p[0] + r, p[1] + c) for r, c in sorted(NEIGHBOURS, key=lambda d: abs(d[0]) + abs(d[1]))) if q in among]

    every = set(left)
    while left:
        ends = [p for p in sorted(left) if len(near(p, left)) <= 1]
        line = [ends[0] if ends else min(left)]
        left.discard(line[0])
        while nexts := near(line[-1], left):
            line.append(nexts[0])
            left.discard(line[-1])
        for end in (0, -1):  # join what the walk cut
            joined = [q for q in near(line[end], every) if q not in line[:3] + line[-3:]]
            if joined:
                line.insert(0 if not end else len(line), joined[0])
        if len(line) > 3 or not lines:
            lines.append(line[:-1:3] + line[-1:])
    return lines


def as_strokes(page, x, y, rng):
    "Digits drawn by the mouse, at 35 to 95 % of the canvas, anywhere on it."
    answers = []
    for img in x:
        page.locator("#clear").click(force=True) if page.locator("#clear").is_enabled() else None
        lines = strokes(img)
        places = np.concatenate([np.array(line) for line in lines]).astype(float)
        low, span = places.min(0), max(np.ptp(places, 0).max(), 1)
        box = page.locator("#pad").bounding_box()
        size = rng.uniform(0.35, 0.95) * (box["width"] - 30)
        room = box["width"] - 30 - np.ptp(places, 0) / span * size
        off = 15 + rng.uniform(0, 1, 2) * room
        for line in lines:
            for k, p in enumerate(line):
                r, c = off + (np.array(p) - low) / span * size
                page.mouse.move(box["x"] + c, box["y"] + r)
                if not k:
                    page.mouse.down()
            page.mouse.up()
        answers.append(said(page.locator("#spoken").text_content()))
    return sum(a == b for a, b in zip(answers, y)), answers


def by_hand(page):
    "Undo, clear, keys, refusals, and an opened file, as a person would."
    pad, spoken = page.locator("#pad").bounding_box(), page.locator("#spoken")

    def line(*points):
        for k, (r, c) in enumerate(points):
            page.mouse.move(pad["x"] + c * pad["width"], pad["y"] + r * pad["height"])
            if not k:
                page.mouse.down()
        page.mouse.up()

    assert "Draw one digit" in page.locator("#more").text_content() and page.locator("#clear").is_disabled()
    line((0.2, 0.5), (0.8, 0.5))
    assert spoken.text_content().startswith("It is a 1"), spoken.text_content()
    line((0.2, 0.25), (0.2, 0.5))
    after = spoken.text_content()
    page.keyboard.press("Control+z")
    assert spoken.text_content().startswith("It is a 1")
    page.locator("#undo").focus()
    page.keyboard.press("Enter")
    assert "Draw one digit" in spoken.text_content(), (after, spoken.text_content())
    line((0.5, 0.5), (0.5, 0.5))
    assert "a blot or a dot" in spoken.text_content() and page.locator("#clear").is_enabled(), spoken.text_content()
    line(*((0.35 + 0.03 * k, 0.35 + 0.3 * (k % 2)) for k in range(11)))
    assert "a blot" in spoken.text_content(), spoken.text_content()
    assert page.locator("#head").text_content() == "No answer"
    page.locator("#clear").click()
    page.keyboard.press("Control+z")
    assert "a blot" in spoken.text_content()
    page.locator("#file").set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    expect(spoken).to_contain_text("notes.txt")
    digits = load_embedded()
    page.locator("#file").set_input_files({"name": "digit.png", "mimeType": "image/png", "buffer": base64.b64decode(png(255 - np.kron(digits.x[0], np.ones((9, 9), np.uint8))))})
    expect(spoken).to_contain_text(f"It is a {digits.y[0]}")
    page.keyboard.press("Tab")
    page.evaluate("tell({seen: new Uint8Array(784), proba: [.4, .3, .1, .1, .1, 0, 0, 0, 0, 0]}, true)")
    assert spoken.text_content() == "Not sure. Perhaps a 0 (40.0%) or a 1 (30.0%)."
    page.keyboard.press("Escape")
    print("undo, clear, keys, refusals and opened files: fine")


def by_finger(context, page):
    "A finger draws a 1 from below, on a page that could scroll: it must not."
    pad = page.locator("#pad").bounding_box()
    cdp, x = context.new_cdp_session(page), pad["x"] + pad["width"] / 2
    cdp.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": pad["y"] + 0.8 * pad["height"]}]})
    for k in range(1, 31):
        cdp.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": pad["y"] + (0.8 - 0.02 * k) * pad["height"]}]})
    cdp.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator("#spoken")).to_contain_text("It is a 1")
    assert page.evaluate("scrollY") == 0 and page.evaluate("document.documentElement.scrollHeight") > 700
    print("a finger draws, and the page stays where it is")


def opened(browser, address, wrong, **options):
    "A page whose requests and errors are noted."
    context = browser.new_context(**options)
    page = context.new_page()
    page.on("request", lambda r: r.url != address and not r.url.startswith("blob:") and wrong.append(f"request: {r.url[:80]}"))
    page.on("pageerror", lambda e: wrong.append(f"error: {e}"))
    page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(f"console: {m.text}"))
    page.goto(address, wait_until="load")
    return context, page


def main(shots=None):
    digits, run, rng, wrong = load_embedded(), shipped_run(), np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as tmp, sync_playwright() as p:
        file, _ = write_page(run, Path(tmp) / "try.html")
        print(f"page: {file.stat().st_size:,} bytes")
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        _, page = opened(browser, file.as_uri(), wrong, viewport={"width": 1280, "height": 900})
        agreement(page, run, digits.x_test[:1000])
        golden(page)
        by_hand(page)
        x, y = digits.x_test[1000:1100], digits.y_test[1000:1100]
        for how in (as_pictures, as_strokes):
            right, answers = how(page, x, y, rng)
            print(f"{how.__name__.replace('_', ' ')}: {right} of {len(x)} read; not:", *(f"{t} as {a}" for t, a in zip(y, answers) if t != a))
            assert right >= (98 if how is as_pictures else 95)  # a skeleton has lost some of the digit
        ms = np.median(page.evaluate("() => { const image = drawing.pixels(); return Array.from({length: 20}, () => { const began = performance.now(); read(image); return performance.now() - began; }); }"))
        print(f"from a drawing to its answer: {ms:.1f} ms")
        assert ms < 50
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context, small = opened(browser, f"http://127.0.0.1:{server.server_port}/try.html", wrong, viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True,
                                device_scale_factor=3, color_scheme="dark")
        assert small.evaluate("document.documentElement.scrollWidth") == 390
        by_finger(context, small)
        as_pictures(small, x[:1], y[:1], rng)
        for sheet, name in ((page, "page-1280"), (small, "page-390")) if shots else ():
            sheet.screenshot(path=Path(shots) / f"{name}.png", full_page=True)
        blocked = page.evaluate("() => fetch('https://example.org/').then(() => false, () => true)")
        assert blocked and any("Content Security Policy" in w for w in wrong) and all("example.org" in w for w in wrong), wrong
        print("no request but the page, no error; a request is refused by the page's policy")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
