"""The review page in Chromium: keys decide, undo takes back, the CSV comes back into `read` or `audit`, nothing leaves the page."""
import csv
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from browsing import DESK, PHONE, chromium, screenshot_folder
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from digit_recognizer.analysis.labels import AUDIT, LABELS, label_items, read_audit
from digit_recognizer.core.mnist import deal_mnist
from digit_recognizer.images.review import DECISION_COLUMNS, DIGITS, NUMBERS, review_page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("web")]
HOSTILE = '</script><script>document.title="taken"</script><img src=x onerror=alert(1)>,"=1+1"'


def read(*words, code=0):
    "The command in a process of its own: its JSON answer."
    told = subprocess.run([sys.executable, "-m", "digit_recognizer", "read", *map(str, words), "--quiet", "--json"],
                          capture_output=True, text=True)
    assert told.returncode == code, told.stderr
    return json.loads(told.stdout)


def item(n, **other):
    return {"file": "a.png", "where": f"a.png, line {n}", "line": str(n), "place": "", "fingerprint": f"{n:016x}", "crop": "", "machine": f"12{n}", "probability": .8,
            "second": f"13{n}", "second_probability": .15, "name": "Ada", "second_name": "Grace", "why": "low probability", **other}


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def opened(browser, tmp_path):
    "Opens a page of items; lists what it asked the network for and its errors."
    contexts, trouble = [], []

    def visit(items, subject=NUMBERS, width=DESK, **options):
        (tmp_path / "review.html").write_text(review_page(items, subject), encoding="utf-8")
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, **options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda e: trouble.append(str(e)))
        page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
        page.on("request", lambda r: trouble.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None)
        page.goto((tmp_path / "review.html").as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not trouble


def saved(page):
    "The rows of the CSV that the page saves."
    with page.expect_download() as download:
        page.keyboard.press("d")
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_keys_decide_and_undo_takes_back(opened):
    page = opened([item(n) for n in range(1, 6)])
    for key in "12n":
        page.keyboard.press(key)
    expect(page.locator("#count")).to_have_text("3 of 5 decided")
    page.keyboard.press("u")
    expect(page.locator("#count")).to_have_text("2 of 5 decided")
    page.keyboard.press("n")
    page.keyboard.press("s")
    expect(page.locator("#where")).to_contain_text("line 5")
    page.keyboard.press("t")
    page.keyboard.type("12x")
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_have_text("expected digits")
    page.locator("#typed").fill("777")
    page.keyboard.press("Enter")
    rows = saved(page)
    assert [(r["line"], r["decision"], r["machine"]) for r in rows] == [("1", "121", "121"), ("2", "132", "122"), ("3", "not a number", "123"), ("5", "777", "125")]
    assert list(rows[0]) == list(DECISION_COLUMNS)


def test_digits_are_typed_as_they_are_seen(opened):
    page = opened([item(n, machine="7", second="1", place="1") for n in range(1, 4)], DIGITS)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.keyboard.press("n")
    assert [r["decision"] for r in saved(page)] == ["1", "7", "not a digit"]


def test_decisions_survive_a_reload_and_a_browser_without_storage(opened):
    page = opened([item(n) for n in range(1, 4)])
    page.keyboard.press("1")
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    expect(page.locator("#count")).to_have_text("1 of 3 decided")
    page = opened([item(n) for n in range(1, 4)])
    page.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('none'); }})")
    page.reload()
    page.keyboard.press("2")
    expect(page.locator("#count")).to_have_text("1 of 3 decided")


def test_hostile_texts_stay_text(opened):
    page = opened([item(1, file=HOSTILE, where=HOSTILE, name=HOSTILE, second_name=HOSTILE, why=HOSTILE), item(2, file="b,\n.png")])
    assert page.title() == "Review: 2 doubtful numbers"
    expect(page.locator("#where")).to_contain_text("script><img")
    page.keyboard.press("1")
    page.keyboard.press("1")
    assert [r["file"] for r in saved(page)] == [HOSTILE, "b,\n.png"]


def test_a_hundred_sheets_need_a_hundred_keys(opened):
    page = opened([item(n) for n in range(100)])
    for _ in range(100):
        page.keyboard.press("1")
    expect(page.locator("#said")).to_have_text("All are decided. Save the decisions.")
    assert len(saved(page)) == 100


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_shows(opened, root, tmp_path, width, scheme, request):
    sheet = tmp_path / "sheet.png"
    picture = Image.open(root / "nbs/samples/sheet.png")
    ImageDraw.Draw(picture).line([0, 60, 640, 50], 60, 2)
    picture.save(sheet)
    for words, single in ((["--wrong-at-most", "1/100"], False), ([], True)):
        read(sheet, *words, "--review", tmp_path / f"{single}.html")
        text = (tmp_path / f"{single}.html").read_text(encoding="utf-8")
        items = json.loads(text.split('id="items">')[1].split("</script>")[0])["items"]
        page = opened(items, DIGITS if single else NUMBERS, width, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("document.getElementById('crop').naturalWidth > 50")
        if folder := screenshot_folder(request.config):
            page.screenshot(path=folder / f"review-{'digit' if single else 'number'}-{width}-{scheme}.png")


def test_decisions_come_back(opened, root, tmp_path):
    sheet, words = root / "nbs/samples/sheet.png", ["--wrong-at-most", "1/100"]
    found = read(sheet, *words, "--review", tmp_path / "page.html")
    asked = [n for n in found["numbers"] if n["review"]]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = opened(json.loads(text.split('id="items">')[1].split("</script>")[0])["items"])
    page.keyboard.press("t")
    page.keyboard.type("4104770")
    page.keyboard.press("Enter")
    with page.expect_download() as download:
        page.keyboard.press("d")
    download.value.save_as(tmp_path / "decisions.csv")
    after = read(sheet, *words, "--decisions", tmp_path / "decisions.csv", "--csv", tmp_path / "out.csv")
    changed = [(a, b) for a, b in zip(found["numbers"], after["numbers"]) if a != b]
    assert len(changed) == 1
    before, now = changed[0]
    assert (now["number"], now["machine"], now["review"], now["probability"]) == ("4104770", before["number"], None, None)
    assert sum(1 for n in after["numbers"] if n["review"]) == len(asked) - 1
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [r["machine"] for r in rows if r["machine"]] == [before["number"]]
    Image.open(sheet).transpose(Image.Transpose.ROTATE_180).save(tmp_path / "sheet.png")
    refused = read(tmp_path / "sheet.png", *words, "--decisions", tmp_path / "decisions.csv", code=2)
    assert "is not the image that was decided" in refused["error"]


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_labels_are_decided_and_come_back(opened, tmp_path, width, scheme, request):
    x, y = (a[:6] for a in deal_mnist()[:2])
    table = pd.DataFrame({"row": np.arange(6), "label": y, "suggested": (y + 1) % 10, "p_label": 0.01, "p_suggested": 0.98, "votes": 0.2, "score": -0.5})
    page = opened(label_items(x, table), LABELS, width, color_scheme=scheme)
    assert page.title() == "Review: 6 doubtful labels"
    expect(page.locator("#where")).to_have_text("1: row 0")
    expect(page.locator("#first")).to_contain_text("the label · 1.0 %")
    expect(page.locator("#second")).to_contain_text("suggested · 98.0 %")
    expect(page.locator("#why")).to_have_text("votes of the nearest digits for the label: 20 %")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.getElementById('crop').naturalWidth") == 224
    if folder := screenshot_folder(request.config):
        page.screenshot(path=folder / f"review-label-{width}-{scheme}.png")
    third = str((y[2] + 5) % 10)
    for key in ("Enter", str((y[1] + 1) % 10), third, "n", "s", "Enter"):
        page.keyboard.press(key)
    with page.expect_download() as download:
        page.keyboard.press("d")
    download.value.save_as(tmp_path / "decisions.csv")
    assert (tmp_path / "decisions.csv").read_text().splitlines()[0] == ",".join(AUDIT)
    assert read_audit(tmp_path / "decisions.csv", y) == {0: str(y[0]), 1: str((y[1] + 1) % 10), 2: third, 3: "not a digit", 5: str(y[5])}
