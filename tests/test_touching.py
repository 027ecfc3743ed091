"""Touching digits are parted, single ones are left alone; numbers keep their point, comma, minus and slash."""
import csv
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from digit_recognizer.images.marks import UNSURE_MINUS, UNSURE_POINT, UNSURE_SLASH
from digit_recognizer.images.normalise import fit_ink
from digit_recognizer.images.pieces import WIDE, WORD, Piece, find_pieces
from digit_recognizer.images.read import Page, Reading, open_picture, read_picture, write_readings
from digit_recognizer.images.touching import (
    MOST_SEAMS, ONE, PARTED, ROWS, TRIED, find_seams, join_digits, part_inks, part_pieces, place_digits, place_proba, row_sums
)


def paper(ink, zoom=4):
    "Ink enlarged, dark on even paper."
    large = Image.fromarray(ink).resize((zoom * ink.shape[1], zoom * ink.shape[0]), Image.Resampling.BICUBIC)
    return np.pad(235 - np.rint(np.asarray(large) * 0.8).astype(np.uint8), 40, constant_values=235)


def numbers(digits, count, n, seed=0):
    "Pictures of touching held-out digits, and their texts."
    rng, found = np.random.default_rng(seed), []
    while len(found) < n:
        at = rng.integers(0, 28_000, count)
        ink = join_digits(digits.x_test[at], rng)
        if ink is not None:
            found.append((paper(ink), "".join(map(str, digits.y_test[at]))))
    return found


# seams and sums

@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(8, 160), st.integers(1, 12))
def test_seams_run_from_top_to_bottom(seed, wide, thick):
    rng = np.random.default_rng(seed)
    image = Image.new("L", (wide, ROWS))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        draw.line([tuple(rng.integers(0, [wide, ROWS])) for _ in range(3)], 255, thick)
    a = np.asarray(image) / 255
    seams, costs = find_seams(a)
    assert len(seams) == len(costs) <= MOST_SEAMS + 2
    assert (seams[0] == 0).all() and (seams[-1] == wide).all() and (abs(np.diff(seams[1:-1], axis=1)) <= 1).all()
    for seam, cost in zip(seams[1:-1], costs[1:-1]):
        assert a[np.arange(ROWS), seam].sum() <= cost + 1e-6


def test_probabilities_of_rows_sum_to_one():
    rng = np.random.default_rng(0)
    ends = np.array([(i, j) for i in range(6) for j in range(i + 1, 6)])
    scores = rng.normal(0, 2, (len(ends), 10))
    places = [place_proba(ends, scores, count) for count in range(1, 5)]
    for p in places:
        assert np.allclose(p.sum(1), p.sum(1)[0])
    assert np.isclose(sum(p.sum(1)[0] for p in places), 1)


def test_sums_over_rows_are_those_of_a_list():
    from itertools import combinations
    rng = np.random.default_rng(1)
    a = np.where(np.triu(np.ones((5, 5)), 1), rng.random((5, 5)), 0)
    with np.errstate(divide="ignore"):
        sums = np.exp(row_sums([np.log(a)] * 3)[:, -1])
    for count in (1, 2, 3):
        ways = [(0, *inner, 4) for inner in combinations((1, 2, 3), count - 1)]
        assert np.isclose(sums[count], sum(np.prod([a[i, j] for i, j in zip(way, way[1:])]) for way in ways))


# parting

@pytest.mark.parametrize("count, least", [(2, 0.85), (3, 0.7), (4, 0.65)])
def test_touching_digits_are_parted(digits, model, count, least):
    made = numbers(digits, count, 30)
    pages = [read_picture(picture, model) for picture, _ in made]
    parted = part_inks([find_pieces(picture)[0].ink for picture, _ in made], model)
    right = ["".join(map(str, p.digits)) == text for p, (_, text) in zip(parted, made)]
    assert np.mean(right) >= least
    silent = [text for page, (_, text) in zip(pages, made) if not page.doubts and len(page.readings) > 1 and str(page) != text]
    assert len(silent) <= 1, silent


def test_each_digit_has_its_place(digits, model):
    picture, text = numbers(digits, 4, 1, seed=3)[0]
    page = read_picture(picture, model)
    assert str(page) == text
    boxes = np.array([r.piece.box for r in page.readings])
    ink = np.argwhere(picture < 150)[:, ::-1]
    assert (np.diff(boxes[:, 0]) > 0).all() and (boxes[:, 2] > boxes[:, 0]).all()
    assert abs(boxes[:, 0].min() - ink[:, 0].min()) <= 4 and abs(boxes[:, 2].max() - ink[:, 0].max()) <= 6
    assert [r.piece.place for r in page.readings] == [1, 2, 3, 4]
    assert all(np.isclose(r.proba.sum(), 1) and r.piece.img.shape == (28, 28) for r in page.readings)
    assert all(r.doubt in ("", PARTED) for r in page.readings)


def test_single_digits_are_left_alone(digits, model):
    "The widest digits, which are taken for two at first, and others."
    box = [np.ptp(np.argwhere(img >= 64), 0) + 1 for img in digits.x_test[:2000]]
    widest = sorted(range(2000), key=lambda row: box[row][0] / box[row][1])[:40]
    for row in [*widest, *range(60)]:
        page = read_picture(paper(fit_ink(digits.x_test[row])), model)
        assert len(page.readings) == 1 or page.doubts, row


def test_a_broken_small_digit_is_one_or_refused(digits, model):
    for row in np.flatnonzero(digits.y_test == 3)[:30]:
        img = digits.x_test[row].copy()
        rows = np.flatnonzero(img.any(1))
        for share in (0.33, 0.66):
            img[rows[0] + int(share * len(rows))] = 0
        try:
            page = read_picture(np.pad(255 - img, 6, constant_values=255), model)
        except ValueError:
            continue
        assert len(page.readings) == 1 and page.doubts, row


class Scores:
    "A rejector that gives each image the same score."
    threshold = 0.5

    def __init__(self, score):
        self.score = score

    def scores(self, imgs):
        return np.full(len(imgs), self.score, np.float32)


def test_a_piece_that_passes_is_tried_from_a_low_score(digits, model):
    "One that is clearly two digits is parted, one digit stays exactly as it was."
    pair = next(picture for picture, text in numbers(digits, 2, 20) if not find_pieces(picture)[0].doubt)
    (piece,) = find_pieces(pair)
    assert part_inks([piece.ink], model)[0].one < ONE
    assert len(part_pieces([piece], model, Scores(TRIED))) == 2
    assert part_pieces([piece], model, Scores(TRIED / 2)) == [piece]
    for row in range(5):
        (single,) = find_pieces(paper(fit_ink(digits.x_test[row])))
        assert part_pieces([single], model, Scores(TRIED)) == [single]


def test_letters_of_a_printed_word_are_not_parted(digits, model):
    "The same ink is parted as a wide piece, but not as a part of a word."
    (piece,) = find_pieces(numbers(digits, 2, 1)[0][0])
    refuses = Scores(0.9)
    assert len(part_pieces([replace(piece, doubt=WIDE)], model, refuses)) == 2
    word = [replace(piece, doubt=WORD)]
    assert part_pieces(word, model, refuses) == word


def test_placed_digits_only_add_ink(digits):
    tries = (place_digits(digits.x_test[row:row+3], np.random.default_rng(row), jitter=7) for row in range(100))
    pages = next(pages for pages in tries if pages is not None)
    assert (np.diff(pages.astype(int), axis=0) >= 0).all() and (np.diff(pages.sum((1, 2), dtype=int)) > 0).all()


# marks

def test_each_cell_of_a_table_has_its_number():
    def reading(digit, row, cell):
        return Reading(digit, 0.9, Piece((0, 0, 9, 9), row, cell, np.zeros((28, 28), np.uint8), ""))
    readings = [reading(1, 1, 1), reading(2, 1, 1), reading(3, 1, 3), reading(4, 2, 2)]
    assert str(Page(readings, [], "table")) == "12 3\n4"
    assert str(Page(readings, [], "boxes")) == "123\n4"


def line(digits, model, text, draw=(), pitch=90, size=70, skip=""):
    "A drawn line with held-out digits at fixed places, and marks: pairs of a method and its box."
    ink = Image.new("L", (pitch * len(text) + 100, 180))
    for n, sign in enumerate(text):
        if sign.isdigit():
            large = Image.fromarray(digits.x_test[np.flatnonzero(digits.y_test == int(sign))[3]]).resize((size, size))
            ink.paste(large, (50 + pitch * n, 50))
    for method, where in draw:
        getattr(ImageDraw.Draw(ink), method)(where, fill=255, **({"width": 7} if method == "line" else {}))
    return read_picture(235 - np.rint(np.asarray(ink) * 0.8).astype(np.uint8), model)


DOT, COMMA = ("ellipse", (126, 104, 136, 114)), ("line", (136, 100, 128, 124))
SHORT, THICK = ("rectangle", (14, 80, 39, 92)), ("line", (135, 102, 127, 120))
MINUS, SLASH = ("rectangle", (4, 82, 34, 89)), ("line", (245, 130, 285, 36))


@pytest.mark.parametrize("text, marks, expected", [
    ("27", [DOT], "2.7"), ("27", [COMMA], "2,7"), ("274", [MINUS], "-274"), ("27", [MINUS, DOT], "-2.7"), ("27", [SHORT], "-27"), ("27", [THICK], "2,7"), ("27 49", [SLASH], "27/49"),
])
def test_marks_belong_to_their_number(digits, model, text, marks, expected, tmp_path):
    page = line(digits, model, text, marks)
    assert str(page) == expected
    ((number,),) = page.numbers
    assert (number.text, number.doubt) == (expected, "") and 0.8 < number.confidence <= min(r.confidence for r in page.readings)
    with open(write_readings({"a.png": page}, tmp_path / "a.csv"), encoding="utf-8", newline="") as file:
        assert {row["number"] for row in csv.DictReader(file)} == {expected}


@pytest.mark.parametrize("text, marks, doubt", [
    ("27", [("ellipse", (122, 104, 138, 113))], UNSURE_POINT),
    ("27 49", [("line", (240, 108, 290, 58))], UNSURE_SLASH),
    ("27 49", [("rectangle", (232, 82, 286, 89))], UNSURE_MINUS),
])
def test_an_unclear_mark_is_a_doubt(digits, model, text, marks, doubt):
    page = line(digits, model, text, marks)
    found = [n for some in page.numbers for n in some if n.doubt]
    assert [n.doubt for n in found] == [doubt] and found[0].confidence <= 0.5


def test_gaps_divide_numbers(digits, model):
    assert str(line(digits, model, "27  49")) == "27 49"
    assert str(line(digits, model, "27495", pitch=150)) == "27495"


def test_a_tilted_one_is_not_a_slash(digits, model):
    page = line(digits, model, "21415")
    assert str(page) == "21415" and not any("slash" in p.reason for p in page.others)


@pytest.fixture
def cases(root):
    folder = root.parent / "shared" / "cases" / "pictures"
    if not folder.is_dir():
        pytest.skip("the folder of cases is not here")
    return folder


@pytest.mark.parametrize("name, text", [("touching-2358.png", "2358"), ("decimal-points.jpg", "12.50\n3.1416")])
def test_cases_of_touching_digits_and_points(cases, model, name, text):
    assert str(read_picture(open_picture(cases / name), model)) == text


def test_the_hard_case_is_right_or_a_doubt(cases, model):
    page = read_picture(open_picture(cases / "touching.jpg"), model)
    assert str(page) == "4823" or all(r.doubt for r in page.readings)
