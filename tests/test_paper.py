"""Digits on paper: lines, edges, shadows and dots beside them change nothing or make a doubt; one bad picture does not
affect the others."""
import csv
import os
import shutil
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from processes import run

from digit_recognizer.core.files import InputError
from digit_recognizer.images.normalise import normalise
from digit_recognizer.images.paper import find_lines
from digit_recognizer.images.pieces import (
    POINT, _are_dashes, _group_pieces, _large_components, _loose_bars, find_pieces, join_components, reading_order
)
from digit_recognizer.images.rejector import load_rejector
from digit_recognizer.images.read import (
    DOUBT_CONFIDENCE, READING_COLUMNS, SURE_CONFIDENCE, left_out, list_pictures, open_picture, read_files, read_picture, write_readings
)

HIGH, WIDE = 260, 640  # of a sheet
CASES = {  # digits of each line
    "underlined.png": "0123456789", "dark-scan-edges.png": "0123456789", "paper-on-table.jpg": "56 2037",
    "ruled-paper.jpg": "408213 95607", "hard-shadow.jpg": "20485 77", "decimal-points.jpg": "12.50 3.1416",
    "12.5.png": "12.5", "3.14.png": "3.14", "joined-boxes.jpg": "0151234567", "white-ink-transparent.png": "749",
}


@pytest.fixture
def cases(root):
    folder = root.parent / "shared" / "cases" / "pictures"
    if not folder.is_dir():
        pytest.skip("the folder of cases is not here")
    return folder


def sheet(digits, rows=((2, 7, 4, 9, 5), (8, 0, 3, 6, 1)), pitch=110, size=70):
    "Two lines of held-out digits as dark ink, 1 on white 0, shape (HIGH, WIDE); every digit keeps 20 pixels of distance."
    ink = np.zeros((HIGH, WIDE))
    for r, line in enumerate(rows):
        for c, digit in enumerate(line):
            row = np.flatnonzero(digits.y_test == digit)[3]
            large = np.asarray(Image.fromarray(digits.x_test[row]).resize((size, size), Image.Resampling.BICUBIC)) / 255
            top, left = 40 + 110 * r, 50 + pitch * c
            ink[top:top + size, left:left + size] = np.maximum(ink[top:top + size, left:left + size], large)
    return ink


def photo(ink, seed=0):
    "Ink on grainy paper with light that falls off, uint8."
    paper = np.linspace(235, 195, ink.shape[1]) + np.random.default_rng(seed).normal(0, 2, ink.shape)
    return np.rint(np.clip(paper * (1 - 0.8 * ink), 0, 255)).astype(np.uint8)


def answers(picture, model):
    "What was read, line by line, with ? behind a doubt; doubts and low confidences must agree."
    page = read_picture(picture, model)
    assert all(r.confidence <= DOUBT_CONFIDENCE for r in page.readings if r.piece.doubt)
    assert all(bool(r.doubt) == (r.confidence < SURE_CONFIDENCE) for r in page.readings)
    return ["".join(f"{r.digit}{'?' * bool(r.doubt)}" for r in line) for line in page.lines]


# 2: the grouping does not depend on the order of components

boxes_of_components = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 200), st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=25, unique=True
).map(lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows]))


@settings(max_examples=300, deadline=None)
@given(boxes_of_components, st.integers(10, 60), st.randoms(use_true_random=False))
def test_grouping_does_not_depend_on_order(boxes, usual, random):
    order = random.sample(range(len(boxes)), len(boxes))
    groups, joined = join_components(boxes.copy(), usual)
    others, joined_others = join_components(boxes[order].copy(), usual)
    assert sorted(map(tuple, groups)) == sorted(tuple(sorted(order[i] for i in group)) for group in others)
    assert np.array_equal(joined, joined_others)
    assert sorted(sum(groups, [])) == list(range(len(boxes)))
    for group, box in zip(groups, joined):
        assert [*boxes[group, :2].min(0), *boxes[group, 2:].max(0)] == box.tolist()


stacks = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 150), st.integers(1, 40), st.sampled_from([1, 2, 3, 5, 8, 40])), min_size=1, max_size=12
).map(lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows]))
TOWER = np.array([[6, 0, 18, 3], [0, 6, 24, 18], [2, 24, 27, 64]])  # a bar above a bar above a digit


@settings(max_examples=300, deadline=None)
@example(TOWER, 40)
@given(stacks | boxes_of_components, st.integers(10, 60))
def test_no_ink_is_lost_or_used_twice(boxes, usual):
    large = _large_components(boxes, usual)
    used = [int(i) for group in _group_pieces(boxes, usual)[0] for i in group]
    dashes = _are_dashes(boxes[large], usual) | _are_dashes(boxes[large][:, [1, 0, 3, 2]], usual)
    small = (boxes[large, 2:] - boxes[large, :2]).max(1) < max(5, usual / 8)
    assert len(used) == len(set(used))
    assert set(large[~dashes & ~small]) <= set(used) <= set(large[~dashes])


def test_a_bar_belongs_to_the_nearest_digit_below():
    boxes = np.array([[0, 10, 20, 50], [0, 14, 20, 50], [0, 0, 20, 5]])
    for order in ([0, 1, 2], [1, 0, 2]):
        assert np.argwhere(_loose_bars(boxes[order])).tolist() == [[order.index(0), 2]]


def test_a_thousand_pieces_are_ordered_in_a_moment():
    boxes = np.array([[0, 60 * n, 20, 60 * n + 40] for n in range(1000)])
    began = time.process_time()
    assert reading_order(boxes) == [[n] for n in range(1000)]
    assert time.process_time() - began < 2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_any_layout_of_bars_is_read_or_refused(seed, n):
    rng, grey = np.random.default_rng(seed), np.full((120, 160), 255, np.uint8)
    for _ in range(n):
        top, left, high, wide = rng.integers(0, [100, 140, 60, 60])
        grey[top:top + high + 1, left:left + wide + 1] = 0
    try:
        pieces = find_pieces(grey)
    except InputError:
        return
    assert all(p.img.shape == (28, 28) for p in pieces)
    assert [(p.line, p.place) for p in pieces] == sorted((p.line, p.place) for p in pieces)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 7), (5, 900), (28, 28), (60, 80), (200, 30)])
def test_any_small_picture_is_read_or_refused(shape):
    rng = np.random.default_rng(3)
    pictures = [rng.integers(0, 256, shape), np.full(shape, 90), np.where(rng.random(shape) < 0.03, 0, 255),
                np.where(rng.random(shape) < 0.5, 0, 255), np.tile(np.arange(shape[1]) % 256, (shape[0], 1))]
    for grey in pictures:
        try:
            find_pieces(grey.astype(np.uint8))
        except InputError:
            continue


# 10: lines change nothing in digits that they do not touch

def line(x0, y0, x1, y1, thick, dash=0):
    "A line as ink, of any slope below 45 degrees, solid or dashed."
    ink = np.zeros((HIGH, WIDE))
    steps = max(abs(x1 - x0), abs(y1 - y0)) + 1
    for n, (x, y) in enumerate(zip(np.linspace(x0, x1, steps), np.linspace(y0, y1, steps))):
        if not dash or n // dash % 2 == 0:
            ink[max(round(y), 0):round(y) + thick, max(round(x), 0):round(x) + thick] = 1
    return ink


ACROSS = {f"across, y {y}, {thick} thick, {long} long": line(20, y, 20 + long, y, thick)
          for y, thick in ((18, 1), (128, 3), (236, 8)) for long in (12, 45, 100, 300, 619)}
SLOPING = {f"sloping by {rise}, {thick} thick": line(10, 242, 630, 242 - rise, thick) for rise, thick in ((-8, 2), (10, 3), (12, 6))}
DASHED = {f"dashed, {dash} and {dash} pixels, {thick} thick": line(20, y, 620, y, thick, dash)
          for dash, thick, y in ((4, 2, 240), (10, 3, 240), (16, 3, 15), (25, 4, 240))}
DOWN = {f"down, x {x}, {thick} thick": line(x, 0, x, HIGH, thick) for x, thick in ((20, 1), (20, 6), (600, 3), (620, 12))}


def framed(left, top, right, bottom, thick):
    ink = np.zeros((HIGH, WIDE))
    ink[top:bottom, left:right] = 1
    ink[top + thick:bottom - thick, left + thick:right - thick] = 0
    return ink


EDGES = {"a dark edge on the left": framed(0, -9, WIDE + 9, HIGH + 9, 14), "dark edges all round": framed(0, 0, WIDE, HIGH, 14),
         "thin edges all round": framed(0, 0, WIDE, HIGH, 3), "a frame": framed(12, 10, 628, 250, 2),
         "two edges": np.maximum(line(0, 0, 0, HIGH, 18), line(0, HIGH - 12, WIDE, HIGH - 12, 12))}
BOXES = {"joined boxes": np.maximum.reduce([framed(36 + 110 * c, 28, 148 + 110 * c, 122, 2) for c in range(5)])}


@pytest.mark.parametrize("name", [*ACROSS, *SLOPING, *DASHED, *DOWN, *EDGES, *BOXES])
def test_lines_change_nothing(digits, model, name):
    lines = (ACROSS | SLOPING | DASHED | DOWN | EDGES | BOXES)[name]
    ink = sheet(digits)
    assert not ((lines > 0) & (ink > 0.02)).any(), "this line touches a digit"
    for seed, strength in enumerate((1, 0.6)):
        assert answers(photo(np.maximum(ink, lines * strength), seed), model) == ["27495", "80361"]


@pytest.mark.parametrize("rows", [((7,),), ((2, 7),), ((2, 7, 4, 9, 5), (8, 0, 3, 6, 1))])
def test_a_line_down_does_not_decide_what_a_digit_is(digits, model, rows):
    for long in (100, 150, 200):
        for thick in (3, 8, 12):
            for left in (20, 600):
                ink = sheet(digits, rows)
                ink[30:30 + long, left:left + thick] = 1
                page = read_picture(photo(ink), model)
                beside = [r for r in page.readings if 40 < r.piece.box[0] < 590]
                assert [r.digit for r in beside] == list(sum(rows, ())), (long, thick, left)
                assert all(r.doubt for r in page.readings if r not in beside), "the line is a sure digit"


@pytest.mark.parametrize("n", [1, 4])
def test_ones_alone_are_digits_and_not_lines(model, n):
    for high, thick in ((60, 2), (60, 10), (150, 3)):
        ink = np.zeros((HIGH, WIDE))
        for k in range(n):
            ink[50:50 + high, 100 + 90 * k:100 + 90 * k + thick] = 1
        assert answers(photo(ink), model) == ["1" * n], (high, thick)


def test_digits_on_ruled_paper_are_found(digits, model):
    ink = sheet(digits)
    for step, thick in ((33, 1), (47, 2), (61, 3)):
        ruled = ink.copy()
        for y in range(9, HIGH - 5, step):
            ruled[y:y + thick] = np.maximum(ruled[y:y + thick], 0.4)
        found = answers(photo(ruled), model)
        assert [text.replace("?", "") for text in found] == ["27495", "80361"], (step, found)


@pytest.mark.parametrize("strength", [0.15, 0.25])
def test_pale_ruling_leaves_digits_sure(digits, model, strength):
    ink = sheet(digits)
    for step in (25, 40):
        ruled = ink.copy()
        ruled[9::step], ruled[:, 6::step] = np.maximum(ruled[9::step], strength), np.maximum(ruled[:, 6::step], strength)
        for picture in (photo(ruled), np.rint(255 * (1 - ruled)).astype(np.uint8)):
            assert answers(picture, model) == ["27495", "80361"], step


def test_bars_of_digits_in_a_row_are_not_a_line(digits, model):
    bars = np.zeros((60, 320), bool)
    for n in range(6):
        bars[20 + n % 2:24 + n % 2, 16 + 40 * n:48 + 40 * n] = True
    assert not find_lines(bars, 130, 8).any()
    assert find_lines(bars | (np.arange(60) == 30)[:, None], 130, 8)[30].all()


def test_a_fine_pen_writes_ones_not_lines(model):
    ink = np.zeros((HIGH, WIDE))
    for x in (100, 220, 340):
        ink[60:160, x:x + 3] = 1
    assert [text.replace("?", "") for text in answers(photo(ink), model)] == ["111"]


# 11: small marks take no part in lines

@pytest.mark.parametrize("high, wide", [(12, 12), (8, 8), (22, 8), (6, 18)])
def test_points_and_commas_are_marks_of_their_line(digits, model, high, wide):
    ink = sheet(digits)
    for c in (0, 2):
        left = 50 + 110 * c + 80
        ink[100:100 + high, left:left + wide] = 1
        ink[212:212 + high, left:left + wide] = 1
    picture = photo(ink)
    assert answers(picture, model) == ["27495", "80361"]
    marks = [p for p in find_pieces(picture) if p.reason]
    assert [p.line for p in marks] == [1, 1, 2, 2]
    assert [p.place for p in marks] == [2, 5, 2, 5]


def test_a_dash_is_not_a_point(digits, model, tmp_path):
    marks = {"a point": np.s_[100:110, 130:140], "a dash": np.s_[72:79, 130:152], "a low dash": np.s_[98:103, 130:152],
             "a high dot": np.s_[46:56, 130:140]}
    seen = {}
    for name, where in marks.items():
        ink = sheet(digits)
        ink[where] = 1
        page = read_picture(photo(ink), model)
        seen[name] = [p.reason for p in page.others]
        assert [r.point for r in page.readings] == [name == "a point", *[False] * 9], name
        assert str(page) == {"a point": "2.7495", "a dash": "2 -7495"}.get(name, "27495") + "\n80361"
        assert bool(page.numbers[0][-1].doubt) == (name == "a dash")
        with open(write_readings({name: page}, tmp_path / f"{name}.csv"), encoding="utf-8", newline="") as file:
            assert [row["point"] for row in csv.DictReader(file)] == ["1" if name == "a point" else "", *[""] * 9]
    assert seen["a point"] == [POINT]
    for name, start in (("a dash", "a dash"), ("a low dash", "a dash"), ("a high dot", "a small mark")):
        assert len(seen[name]) == 1 and seen[name][0].startswith(start), (name, seen[name])


# 12: what is not a clean digit is a doubt

def test_touching_digits_are_parted_or_doubts(digits, model):
    rng, silent, n = np.random.default_rng(0), 0, 0
    for _ in range(40):
        rows = rng.integers(0, 28_000, 2)
        a, b = (digits.x_test[i] for i in rows)
        a, b = (img[:, np.flatnonzero(img.max(0) > 99)[0]:np.flatnonzero(img.max(0) > 99)[-1] + 1] for img in (a, b))
        pair = np.zeros((28, 60), np.uint8)
        pair[:, :a.shape[1]] = a
        for left in range(a.shape[1], 4, -1):
            if ((pair[:, left:left + b.shape[1]] > 99) & (b > 99)).any():
                break
        pair[:, left:left + b.shape[1]] = np.maximum(pair[:, left:left + b.shape[1]], b)
        large = np.asarray(Image.fromarray(pair).resize((180, 84), Image.Resampling.BICUBIC)) / 255
        ink = np.pad(sheet(digits, ((2, 7, 4),), size=84), ((0, 0), (0, 200)))
        ink[40:124, 450:630] = large
        here = [r for r in read_picture(photo(ink), model, load_rejector()).readings if r.piece.box[0] > 440]
        right = [r.digit for r in here] == digits.y_test[rows].tolist()
        n, silent = n + right, silent + (not right and not any(r.doubt for r in here))
    assert n >= 30 and silent <= 4, (n, silent)


def test_smaller_digits_are_doubts_and_not_lost(digits, model):
    ink = np.zeros((HIGH + 40, WIDE))
    ink[:HIGH // 2] = sheet(digits, ((2, 7, 4, 9, 5),))[:HIGH // 2]
    small = sheet(digits, ((8, 0, 3),), pitch=40, size=28)[36:70, 40:200]
    ink[200:200 + len(small), 300:300 + small.shape[1]] = small
    assert answers(photo(ink), model) == ["27495", "8?0?3?"]


def test_ink_that_shines_through_is_a_doubt(digits, model):
    ink = sheet(digits)
    ink[150:, 370:] *= 0.4
    assert answers(photo(ink), model) == ["27495", "8036?1?"]


def test_a_digit_at_the_edge_or_on_a_line_is_a_doubt(digits, model):
    ink = sheet(digits)
    cut = photo(ink)[:, 70:]
    assert answers(cut, model)[0].endswith("7495") and "?" in answers(cut, model)[0][:2]
    crossed = photo(np.maximum(ink, line(0, 74, 639, 74, 3)))
    first, second = answers(crossed, model)
    assert first.count("?") == 5 and second == "80361"


def test_a_hard_shadow_loses_nothing(digits, model):
    for level, slope in ((0.45, 0.5), (0.6, -0.3), (0.75, 0)):
        picture = photo(sheet(digits)).astype(float)
        x, y = np.meshgrid(np.arange(WIDE), np.arange(HIGH))
        picture[x + slope * y > 370] *= level
        found = answers(np.rint(picture).astype(np.uint8), model)
        assert [text.replace("?", "") for text in found] == ["27495", "80361"], (level, found)


@pytest.mark.parametrize("table", [0, 60, 110])
def test_paper_on_a_table(digits, model, table):
    picture = np.full((HIGH + 200, WIDE + 240), table, np.uint8)
    picture[100:-100, 120:-120] = photo(sheet(digits))
    grain = np.random.default_rng(1).normal(0, 4, picture.shape)
    found = answers(np.clip(picture + grain, 0, 255).astype(np.uint8), model)
    assert [text.replace("?", "") for text in found] == ["27495", "80361"]


# 13: files

def test_light_ink_on_a_transparent_picture(digits):
    img = digits.x_test[0]
    for colour in ((255, 255, 255), (255, 255, 120), (230, 240, 255)):
        a = np.dstack([*(np.full_like(img, c) for c in colour), img])
        assert abs(normalise(a).astype(int) - normalise(img)).max() <= 2, colour
    assert np.array_equal(normalise(np.dstack([*[np.zeros_like(img)] * 3, img])), normalise(img)), "black"


FOREIGN = {"a.heic": (b"\0\0\0\x18ftypheic", "HEIC"), "b.jpg": (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "HEIC"),
           "c.avif": (b"\0\0\0\x1cftypavif", "AVIF"), "d.png": (b"%PDF-1.4\n", "PDF"), "e.gif": (b"GIF89a", "GIF"), "f.png": (b"", "empty")}


def test_foreign_files_are_named(tmp_path):
    for name, (start, word) in FOREIGN.items():
        (tmp_path / name).write_bytes(start + bytes(60) * bool(start))
        with pytest.raises(InputError, match=f"{name}.*{word}.*(save|fetch)"):
            open_picture(tmp_path / name)


@pytest.fixture
def folder(tmp_path, digits):
    "Two good pictures, and what lies about in folders."
    for n in (1, 2):
        Image.fromarray(255 - digits.x_test[n]).resize((140, 140)).save(tmp_path / f"{n}.png")
    (tmp_path / "._1.png").write_bytes(b"\0\x05\x16\x07" + bytes(60))
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "old").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
    return tmp_path


def test_what_a_folder_leaves_out_is_counted(folder):
    paths, errors = list_pictures([folder])
    assert ([p.name for p in paths], errors) == (["1.png", "2.png"], [])
    (note,) = left_out([folder, folder / "1.png", folder / "missing"])
    for part in ("2 hidden (.DS_Store, ._1.png)", "1 a folder (old)", "1 not a picture (notes.txt)"):
        assert part in note
    if hasattr(os, "mkfifo"):
        assert "1 not a regular file (pipe.png)" in note
        with pytest.raises(InputError):
            open_picture(folder / "pipe.png")


def test_a_folder_that_cannot_be_listed_is_one_error(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(folder), "is_dir", refuse)
    paths, (error,) = list_pictures([folder])
    assert (paths, str(error)) == ([], f"{folder}: cannot be read (Permission denied)")
    assert left_out([folder]) == []


@pytest.mark.parametrize("name", ["p", "picture", "drawing", "a: b"])
def test_errors_name_their_picture(tmp_path, model, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    blot = np.full((300, 300), 255, np.uint8)
    blot[50:250, 60:240] = 0
    Image.fromarray(blot).save(name, format="PNG")
    (error,) = read_files([name], model)[1]
    assert str(error).startswith(f"{name}: no digit on it; 1 piece of ink, and the largest is a blot"), error


def test_an_error_of_the_model_is_not_the_picture_s(folder, model):
    (error,) = read_files([folder / "1.png"], Failing(model, KeyError("x"), 1))[1]
    assert "PNG" not in str(error).removeprefix(str(folder)) and "another model" in str(error)


class Failing:
    "A model that fails for its n-th picture."

    def __init__(self, model, error, n):
        self.model, self.error, self.left = model, error, n

    def predict_on_batch(self, x):
        self.left -= 1
        if not self.left:
            raise self.error
        return self.model.predict_on_batch(x)


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("too deep"), RuntimeError("model"), KeyError("x"), ValueError("no colon"), InputError("odd")])
def test_one_bad_picture_does_not_affect_the_others(folder, model, error):
    paths = [folder / "1.png", folder / "2.png"]
    shutil.copy(paths[0], folder / "3.png")
    pages, errors = read_files([*paths, folder / "3.png"], Failing(model, error, 2))
    assert [p.name for p in pages] == ["1.png", "3.png"]
    assert len(errors) == 1 and str(errors[0]).startswith(f"{paths[1]}: ") and "\n" not in str(errors[0])


def test_hostile_names_do_not_break_the_csv(folder, model, tmp_path):
    names = ["=1+1.png", "@cmd.png", "a\nb.png", 'say "x",.png', os.fsdecode(b"\xff\xfe.png")]
    paths = []
    for name in names:
        try:
            shutil.copy(folder / "1.png", folder / name)
            paths.append(folder / name)
        except OSError:
            continue
    pages, errors = read_files(paths, model)
    assert not errors
    target = write_readings({os.path.basename(path): page for path, page in pages.items()}, tmp_path / "out.csv")
    with open(target, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == READING_COLUMNS and len(rows) == len(paths)
    assert not [row[0] for row in rows if row[0][0] in "=+-@\t\r" or "\n" in row[0]]


def test_command_reads_a_folder_with_companions(folder, tmp_path):
    done = run(["read", folder, "--csv", tmp_path / "digits.csv", "--quiet"])
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "digits.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2
    assert "Traceback" not in done.stderr


# the small inputs that failed

@pytest.mark.parametrize("name", CASES)
def test_cases(cases, model, name):
    page = read_picture(open_picture(cases / name), model)
    assert str(page).split() == CASES[name].split()


def test_bars_that_touch_are_doubts(cases, model):
    page = read_picture(open_picture(cases / "four-bars.png"), model)
    assert all(r.doubt for r in page.readings)


def test_the_word_is_a_doubt(cases, model):
    page = read_picture(open_picture(cases / "word-and-number.jpg"), model)
    assert [r.digit for r in page.readings if not r.doubt] == [4, 2]


def test_heic_and_companion_of_the_cases(cases):
    with pytest.raises(InputError, match="HEIC.*save it as JPEG"):
        open_picture(cases / "IMG_0001.HEIC")
    assert not [p for p in list_pictures([cases])[0] if p.name.startswith(".")]
    assert "1 hidden (._underlined.jpg)" in left_out([cases])[0]
