"""Boxes and tables on pages full of print: found, read row by row, also turned and photographed; PDFs of them, also hostile ones."""
import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from digit_recognizer.core.files import InputError
from digit_recognizer.images import read as reading
from digit_recognizer.images.forms import find_form
from digit_recognizer.images.numbers import Known, answer_numbers, page_rows
from digit_recognizer.images.read import open_picture, page_names, read_files, read_picture
from digit_recognizer.images.review import DECISION_COLUMNS
from digit_recognizer.runs.export import small_model
from digit_recognizer.runs.folder import pretrained_run


@pytest.fixture(scope="module")
def model():
    return small_model(pretrained_run())


@pytest.fixture
def generated(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "benchmarks")
    import forms
    return forms


@pytest.fixture
def sheets(root):
    folder = root.parent / "shared" / "data" / "forms"
    if not folder.is_dir():
        pytest.skip("../shared/data/forms is not here")
    pytest.importorskip("pypdfium2")
    with open(folder / "sheets.csv", encoding="utf-8") as file:
        return folder / "sheets.pdf", [row["id"] for row in csv.DictReader(file)]


def print_page(wide=1240, high=1754):
    page = Image.new("L", (wide, high), 255)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(24)
    for y in range(90, high - 90, 34):
        draw.text((100, y), "Lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor", 0, font)
    return page


@pytest.mark.parametrize("style", range(5))
@pytest.mark.parametrize("photo", [False, True])
def test_generated_styles(generated, digits, model, style, photo):
    numbers = [style + 5 * k for k in ((3, 7) if photo else (0, 2))]
    forms = [generated.draw_form(number, digits) for number in numbers]
    rows = [generated.compare(form, read_picture(form.picture, model)) for form in forms]
    assert {form.style for form in forms} == {generated.STYLES[style]} and all(form.photo == photo for form in forms)
    assert sum(row["found"] for row in rows) >= 0.9 * sum(row["cells"] for row in rows)
    assert sum(row["right"] for row in rows) >= 0.9 * sum(row["digits"] for row in rows)
    assert sum(row["extra"] for row in rows) <= 1


def test_no_box_of_a_row_is_missed(generated, digits, model):
    rows = generated.unused_rows(digits)
    for number, what in ((1076, "a wall that a digit crosses"), (1731, "a stroke that passes for a wall"), (1346, "two boxes as one"),
                         (1720, "the first box of a comb"), (1009, "pale walls"), (1649, "one pale row of two")):
        form = generated.draw_form(number, digits, rows)
        row = generated.compare(form, read_picture(form.picture, model))
        assert row["found"] == row["cells"] and not row["extra"], what


def test_real_sheets(sheets, model):
    file, ids = sheets
    pages, errors = read_files([file], model)
    assert not errors and [page.name for page in pages] == [f"sheets.pdf page {n}" for n in range(1, 12)]
    assert all(page.kind == "boxes" and {r.piece.line for r in page.readings} == {1} for page in pages.values())
    assert [[r.piece.place for r in page.readings] for page in pages.values()] == [list(range(1, 10))] * 11
    assert sum(str(page) == true for page, true in zip(pages.values(), ids)) >= 10


@pytest.mark.parametrize("turn, scale", [(-14, 1), (9, 0.67), (4, 0.5)])
def test_real_sheets_turned(sheets, model, turn, scale):
    import pypdfium2
    with pypdfium2.PdfDocument(sheets[0]) as document:
        for n in (0, 3, 7):
            page = document[n].render(scale=300 / 72 * scale, grayscale=True).to_pil()
            found = read_picture(page.rotate(turn, Image.Resampling.BICUBIC, expand=True, fillcolor=255), model)
            assert found.kind == "boxes" and str(found) == sheets[1][n]


def test_pale_ink_is_a_doubt_not_a_blank_box(sheets, model):
    import pypdfium2
    with pypdfium2.PdfDocument(sheets[0]) as document:
        page = document[9].render(scale=300 / 72, grayscale=True).to_pil().point(lambda v: 160 + v * 60 // 255)
    read = read_picture(page, model)
    assert [r.piece.place for r in read.readings] == list(range(1, 10))
    assert all(r.doubt or str(r.digit) == true for r, true in zip(read.readings, sheets[1][9]))


def dashed(draw, ends, width):
    "A line of dashes."
    (x0, y0), (x1, y1) = ends
    n = int(np.hypot(x1 - x0, y1 - y0)) // 13
    for k in range(n + 1):
        a, b = k * 13 / max(1, 13 * n), min(1, (k * 13 + 8) / max(1, 13 * n))
        draw.line([x0 + a * (x1 - x0), y0 + a * (y1 - y0), x0 + b * (x1 - x0), y0 + b * (y1 - y0)], 60, width)


def sheet_of_boxes(digits, text, gap=0, wall=2, dashes=False, labels=False, lone="", turn=2.0):
    "A small scan, 100 dots per inch: a row of boxes above print; a space is a blank box; `lone` stands in a box of its own."
    page, rng = Image.new("L", (840, 1180), 252), np.random.default_rng(int(re.sub("[^0-9]", "", text)))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for n in range(24):
        draw.text((60, 330 + 30 * n), "Lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod 12 tempor 2026", 50, font)
    high = 60
    for n, sign in enumerate(text + lone):
        left, top, wide = (600 if n == len(text) else 70 + n * (50 + gap)), 150, 50
        corners = [(left, top), (left + wide, top), (left + wide, top + high), (left, top + high)]
        for a, b in zip(corners, corners[1:] + corners[:1]):
            dashed(draw, (a, b), wall) if dashes else draw.line([a, b], 40, wall)
        if labels:
            draw.text((left + 20, top - 17), str(n + 1), 60, ImageFont.load_default(11))
        if sign != " ":
            ink = Image.fromarray(digits.x_test[rng.choice(np.flatnonzero(digits.y_test == int(sign)))]).resize((44, 44))
            page.paste(20, (left + 4, top + 9), ink)
    page = page.rotate(turn, Image.Resampling.BICUBIC, expand=True, fillcolor=252)
    noise = rng.normal(0, 4, page.size[::-1])
    return Image.fromarray(np.clip(np.asarray(page) + noise, 0, 255).astype(np.uint8))


def in_a_shadow(page):
    "The page on a dark table, its right half in a shadow."
    photo = Image.new("L", (page.width + 160, page.height + 160), 55)
    photo.paste(page, (80, 80))
    light = np.interp(np.arange(photo.width), [photo.width * 0.42, photo.width * 0.52], [1, 0.58])
    return Image.fromarray((np.asarray(photo) * light).astype(np.uint8))


@pytest.mark.parametrize("how", [dict(gap=6), dict(gap=6, labels=True), dict(gap=3), dict(wall=6), dict(wall=7, turn=-3.0), dict(dashes=True),
                                 dict(dashes=True, turn=-4.0), dict(lone="3"), dict(lone="3", turn=-4.0)])
def test_every_box_of_a_small_scan_is_found(digits, how):
    for text in ("42262855", "16491650", "30670954"):
        form = find_form(sheet_of_boxes(digits, text, **how))
        assert [len(row) for row in form.rows] == [8, *[1] * len(how.get("lone", ""))]
        assert not any(piece.reason for piece in form.pieces)


def test_boxes_in_a_shadow_are_not_left_out(digits):
    for text in ("42376196", "21214622"):
        form = find_form(in_a_shadow(sheet_of_boxes(digits, text, turn=0)))
        assert [len(row) for row in form.rows] == [8]


def test_a_box_without_a_digit_leaves_a_mark_in_the_number(digits, model):
    page = read_picture(sheet_of_boxes(digits, "81 95621"), model)
    (number,), = page.numbers
    assert number.text[2] == "_" and len(number.text) == 8 and number.doubt
    assert len(page_rows("page.png", page)[0].cells) == 8


def test_refused_ink_at_the_end_of_a_row_leaves_a_mark_too(digits, model):
    page = sheet_of_boxes(digits, "1234567 ", turn=0)
    ImageDraw.Draw(page).rectangle([426, 156, 464, 204], fill=30)
    (number,), = read_picture(page, model).numbers
    assert number.text[-1] == "_" and len(number.text) == 8 and number.doubt


def test_a_dash_in_a_box_is_a_dash(digits, model):
    page = sheet_of_boxes(digits, "12 05 26", turn=0)
    for n in (2, 5):
        ImageDraw.Draw(page).line([70 + 50 * n + 14, 180, 70 + 50 * n + 36, 180], fill=30, width=5)
    found = read_picture(page, model)
    (number,), = found.numbers
    assert re.fullmatch("[0-9]{2}-[0-9]{2}-[0-9]{2}", number.text)
    (row,) = page_rows("page.png", found)
    answer = answer_numbers([row], Known(pattern="##-##-##"))[0]
    assert answer.text == number.text.replace("-", "") and "expected" not in answer.why


def boxes_at(*places):
    "A page with boxes: left, top, width and height of each."
    page = Image.new("L", (1000, 1400), 255)
    for left, top, wide, high in places:
        ImageDraw.Draw(page).rectangle([left, top, left + wide, top + high], outline=0, width=3)
    return page


def test_rows_are_in_reading_order():
    large = [(60 + 150 * n, 60 + 150 * k, 150, 150) for k in range(4) for n in range(5)]
    small = [(60 + 60 * n, 740 + 60 * k, 60, 60) for k in range(8) for n in range(2)]
    rows = find_form(boxes_at(*large, *small)).rows
    assert [len(row) for row in rows] == [5] * 4 + [2] * 8
    assert all(np.diff([row[0, 0, 1] for row in rows]) > 0)


def test_a_lone_box_counts_only_beside_a_row():
    row = [(60 + 60 * n, 100, 60, 70) for n in range(6)]
    assert [len(found) for found in find_form(boxes_at(*row, (700, 104, 60, 70))).rows] == [6, 1]
    assert [len(found) for found in find_form(boxes_at(*row, (700, 600, 60, 70))).rows] == [6]


def test_squares_of_a_qr_code_are_not_boxes():
    page = print_page()
    draw = ImageDraw.Draw(page)
    draw.rectangle([90, 590, 1140, 810], fill=255)
    for left, top in ((100, 600), (212, 600), (100, 712)):
        for inset, level in ((0, 0), (10, 255), (20, 0)):
            draw.rectangle([left + inset, top + inset, left + 70 - inset, top + 70 - inset], fill=level)
    for n in range(6):
        draw.rectangle([400 + 80 * n, 650, 480 + 80 * n, 750], outline=0, width=3)
    assert [len(row) for row in find_form(page).rows] == [6]


def test_a_page_of_print_ends_in_one_error(model):
    with pytest.raises(InputError, match="separate pieces.*boxes were not found"):
        read_picture(print_page(), model)


def test_blank_boxes_are_said(model):
    page = print_page()
    draw = ImageDraw.Draw(page)
    draw.rectangle([90, 600, 1100, 800], fill=255)
    for n in range(6):
        draw.rectangle([200 + 80 * n, 650, 280 + 80 * n, 750], outline=0, width=3)
    assert len(find_form(page).pieces) == 6
    with pytest.raises(InputError, match="6 boxes, no digit in them"):
        read_picture(page, model)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 900), (900, 3), (40, 40)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_any_picture_is_survived(shape, level):
    rng = np.random.default_rng(0)
    assert find_form(np.full(shape, level, np.uint8)) is None
    assert find_form(rng.integers(0, 256, shape).astype(np.uint8)) is None


# PDF

def write_pdf(path, pages=1, size=(200, 200), content=b""):
    "A PDF of empty pages, made by hand."
    kids = b" ".join(b"%d 0 R" % (n + 4) for n in range(pages))
    bodies = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, pages),
              b"<</Length %d>>stream\n%s\nendstream" % (len(content), content)]
    bodies += [b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]/Contents 3 0 R>>" % size] * pages
    out, places = bytearray(b"%PDF-1.4\n"), []
    for n, body in enumerate(bodies, 1):
        places.append(len(out))
        out += b"%d 0 obj%s\nendobj\n" % (n, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1) + b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(places) + 1, start)
    path.write_bytes(out)
    return path


def pdf_of(path, pictures):
    pictures[0].save(path, save_all=True, append_images=pictures[1:], resolution=150)
    return path


def test_pdf_pages_have_names_everywhere(tmp_path, generated, digits, model):
    pytest.importorskip("pypdfium2")
    form = generated.draw_form(2, digits).picture
    file = pdf_of(tmp_path / "stack.pdf", [form, print_page(), form])
    pages, errors = read_files([file], model, tmp_path / "out")
    assert [path.name for path in pages] == ["stack.pdf page 1", "stack.pdf page 3"]
    assert len(errors) == 1 and str(errors[0]).startswith(f"{file} page 2: ")
    assert sorted(os.listdir(tmp_path / "out")) == ["stack-page-1-read.png", "stack-page-3-read.png"]
    assert len({str(page) for page in pages.values()}) == 1
    told = subprocess.run([sys.executable, "-m", "digit_recognizer", "read", file, "--csv", tmp_path / "out.csv", "--quiet"],
                          capture_output=True, text=True, encoding="utf-8")
    assert told.returncode == 2 and f"{file} page 3: " in told.stdout and "in a table" in told.stdout
    assert told.stderr.count("error: ") == 1
    with open(tmp_path / "out.csv", encoding="utf-8") as out:
        assert {row["file"] for row in csv.DictReader(out)} == {f"{file} page 1", f"{file} page 3"}


@pytest.mark.parametrize("name, content, message", [
    ("damaged", b"%PDF-1.7\n" + b"\xff" * 999, "a damaged PDF"), ("cut", None, "a damaged PDF|nothing stands out|blank"),
    ("nothing", b"%PDF-", "a damaged PDF")])
def test_hostile_pdfs_end_in_one_line(tmp_path, model, name, content, message):
    pytest.importorskip("pypdfium2")
    file = tmp_path / f"{name}.pdf"
    if content is None:
        content = write_pdf(file, 3).read_bytes()[:60]
    file.write_bytes(content)
    pages, errors = read_files([file], model)
    assert not pages and len(errors) == 1
    assert str(errors[0]).startswith(str(file)) and "\n" not in str(errors[0])
    with pytest.raises(InputError, match=message):
        raise errors[0]


def test_tiff_pages_are_read_one_by_one(tmp_path, monkeypatch, generated, digits, model):
    pages = [generated.draw_form(number, digits).picture for number in (0, 5)]
    blank, small, names = Image.new("L", (400, 400), 255), pages[0].reduce(8), ["stack.tiff page 1", "stack.tiff page 3"]
    small.encoderinfo = {"tiffinfo": {254: 1}}  # a small copy, as cameras and some scanners add it
    pages[0].save(tmp_path / "stack.tiff", save_all=True, append_images=[small, blank, pages[1].convert("RGB")])
    monkeypatch.chdir(tmp_path)
    found, errors = read_files(["./stack.tiff"], model, "copies")
    assert [page.name for page in found] == names
    assert [str(page) for page in found.values()] == [str(read_picture(page, model)) for page in pages]
    assert [str(error).partition(": ")[0].removeprefix("./") for error in errors] == ["stack.tiff page 2"]
    assert sorted(path.name for path in Path("copies").iterdir()) == ["stack-page-1-read.png", "stack-page-3-read.png"]
    pages[0].save("one.tiff", save_all=True, append_images=[small])
    assert [str(page) for page in read_files(["one.tiff"], model)[0].values()] == [str(read_picture(pages[0], model))]


def test_a_broken_page_leaves_the_others_of_a_tiff(tmp_path, generated, digits, model):
    page, whole = generated.draw_form(0, digits).picture, tmp_path / "whole.tiff"
    page.save(whole, save_all=True, append_images=[page])
    page.save(tmp_path / "first.tiff")
    content, first = whole.read_bytes(), (tmp_path / "first.tiff").stat().st_size
    for name, size in (("directory.tiff", first + 30), ("pixels.tiff", len(content) - 5000)):
        (tmp_path / name).write_bytes(content[:size])
        found, errors = read_files([tmp_path / name], model)
        assert [file.name for file in found] == [f"{name} page 1"] and len(errors) == 1
        assert re.fullmatch(f".*{name} page 2: .*(damaged|truncated).*", str(errors[0]))
    (tmp_path / "start.tiff").write_bytes(content[:60_000])
    found, errors = read_files([tmp_path / "start.tiff"], model)
    assert not found and errors and all("damaged" in str(error) for error in errors)


def test_absurd_pages_are_drawn_small(tmp_path, monkeypatch):
    pypdfium2 = pytest.importorskip("pypdfium2")
    monkeypatch.setattr(reading, "PDF_PIXELS", 1_000_000)
    with pypdfium2.PdfDocument(write_pdf(tmp_path / "a.pdf", 1, (14_000, 14_000))) as document:
        assert reading._draw_pdf_page(document, 0).size == (1000, 1000)


@pytest.mark.skipif(sys.platform == "win32", reason="asks the system for the memory by resource")
def test_long_pdf_needs_constant_memory(tmp_path):
    pytest.importorskip("pypdfium2")
    import resource
    file = write_pdf(tmp_path / "long.pdf", 10_000, (100, 100))  # freed pictures of this size stay between what PDFium keeps
    names, seen = page_names(file), 0
    assert len(names) == 10_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _, load in reading._open_pages(file, names):
        seen += np.asarray(load()).shape == (417, 417)
        if seen == 2_000:
            break
    assert seen == 2_000 and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000 * (1024 if sys.platform == "darwin" else 1)


@pytest.mark.parametrize("package, extra, start", [("pypdfium2", "pdf", b"%PDF-1.7"), ("pillow_heif", "heic", b"\0\0\0\x18ftypheic")])
def test_without_the_extra_the_command_is_named(tmp_path, monkeypatch, model, package, extra, start):
    import importlib.util
    real = importlib.util.find_spec
    def hidden(name, *rest): return None if name == package else real(name, *rest)
    monkeypatch.setattr("digit_recognizer.core.files.find_spec", hidden)
    monkeypatch.setattr(reading, "find_spec", hidden)
    file = tmp_path / f"a.{extra}"
    file.write_bytes(start + bytes(99))
    pages, errors = read_files([file], model)
    assert not pages and len(errors) == 1
    assert f"needs {package}; install it with: pip install" in str(errors[0])


def test_heic_is_read(tmp_path, root, model):
    pillow_heif = pytest.importorskip("pillow_heif")
    sheet = Image.open(root / "nbs/samples/sheet.png").convert("RGB")
    try:
        pillow_heif.from_pillow(sheet).save(tmp_path / "sheet.heic", quality=90)
    except Exception as e:
        pytest.skip(f"this pillow-heif cannot write: {e}")
    assert str(read_picture(open_picture(tmp_path / "sheet.heic"), model)).split() == (root / "nbs/samples/sheet.txt").read_text().split()
    (tmp_path / "half.heic").write_bytes((tmp_path / "sheet.heic").read_bytes()[:500])
    with pytest.raises(InputError, match="a damaged (HEIC )?picture"):
        open_picture(tmp_path / "half.heic")


def comb(imgs):
    "Digits in joined boxes."
    page = Image.new("L", (200 + 90 * len(imgs), 300), 255)
    draw = ImageDraw.Draw(page)
    for n, img in enumerate(imgs):
        draw.rectangle([100 + 90 * n, 100, 190 + 90 * n, 200], outline=0, width=3)
        page.paste(Image.fromarray(255 - img).resize((78, 78), Image.Resampling.BICUBIC), (106 + 90 * n, 111))
    return page


def test_an_id_that_a_person_gives_to_two_sheets_is_told(tmp_path, digits, model):
    ids, paths = [], [tmp_path / "a.png", tmp_path / "b.png"]
    for n, path in enumerate(paths):
        rows = np.arange(7 * n, 7 * n + 7)
        ids.append("".join(map(str, digits.y_test[rows])))
        comb(digits.x_test[rows]).save(path)
    (tmp_path / "class.csv").write_text("\n".join(["id,name", f"{ids[0]},Ada", f"{ids[1]},Bo", "1000000,Cy"]) + "\n")
    second = page_rows("b.png", read_picture(open_picture(paths[1]), model))[0]
    row = {"file": "b.png", "line": 1, "place": "", "fingerprint": second.fingerprint, "machine": ids[1], "decision": ids[0]}
    (tmp_path / "decisions.csv").write_text("\n".join(",".join(str(cell) for cell in cells) for cells in (
        DECISION_COLUMNS, [row.get(column, "") for column in DECISION_COLUMNS])) + "\n")
    words = ["read", "a.png", "b.png", "--list", "class.csv", "--once", "--csv", "names.csv", "--quiet"]
    for more, told in ([], ["", ""]), (["--decisions", "decisions.csv"], ["another sheet has this id"] * 2):
        (tmp_path / "names.csv").unlink(missing_ok=True)
        subprocess.run([sys.executable, "-m", "digit_recognizer", *words, *more], cwd=tmp_path, check=True, capture_output=True)
        with open(tmp_path / "names.csv", encoding="utf-8") as file:
            assert [line["review"] for line in csv.DictReader(file)] == told


@pytest.mark.parametrize("every, found", [(3, 525), (30, None)])
def test_a_large_table_is_one_and_squared_paper_is_not(digits, every, found):
    page = Image.new("L", (1900, 1700), 255)
    draw = ImageDraw.Draw(page)
    for n in range(525):
        x, y = 100 + 80 * (n % 21), 60 + 60 * (n // 21)
        draw.rectangle([x, y, x + 80, y + 60], outline=0, width=2)
        if n % every == 0:
            page.paste(Image.fromarray(255 - digits.x_test[n]).resize((48, 48), Image.Resampling.BICUBIC), (x + 16, y + 6))
    form = find_form(page)
    assert (form and len(form.pieces)) == found
