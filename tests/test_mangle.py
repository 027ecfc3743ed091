"""Valid CSV files are mangled in many ways and read: the right digits, or one error that names the file and the line.

Each is read at once and in chunks of any size, which give the same rows, or the same error.

What a file holds after a change is found by a reader of a few lines that uses nothing of the package: Python's own
`int` for each cell of each line. The example has failed where one reads digits that the other does not find, where a
plain file of digits is refused, where anything but `InputError` is raised, where a message names no file, or no line
though the header is right, or where a file appears.
"""
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from digit_recognizer.core.files import InputError
from digit_recognizer.core.tables import PIXELS, _read_header, read_blocks, read_csv, spans, write_csv
from digit_recognizer.data import Digits, export_csv, load_digits

JUNK = ("", " ", "-1", "256", "255", "0", "9", "10", "1.0", "1e2", "nan", "+7", "007", "0x1", "1_0", "#", "\u0663", "\u00bd", "\ufeff",
        '"3"', "'", "\0", "x" * 70_000, "3;4", "true", "999999999999999999999", "\x0c", "\u2028")
ENDS = ("\n", "\r\n", "\r", "\n\n", "\n \n", "\v", "")
LINE_ENDS = ("\n", "\r\n", "\r")


@st.composite
def mangled(draw, text):
    "A file after one to three changes, of which about half leave it readable (other digits, other line ends): bytes."
    for _ in range(draw(st.integers(1, 3))):
        lines = text.split("\n")
        row = draw(st.integers(0, len(lines) - 1))
        cells = lines[row].split(",")
        at = draw(st.integers(0, len(cells) - 1))
        spot = draw(st.integers(0, len(text)))
        kind = draw(st.one_of(st.integers(0, 11), st.sampled_from((10, 11))))
        if kind == 0:
            cells[at] = draw(st.sampled_from(JUNK))
        elif kind == 1:
            cells[at] = draw(st.text(max_size=6))
        elif kind == 2:
            del cells[at]
        elif kind == 3:
            cells.insert(at, draw(st.sampled_from(JUNK)))
        elif kind == 11 and row:
            cells[at] = str(draw(st.integers(0, 9)))
        lines[row] = ",".join(cells)
        if kind == 4:
            lines.insert(row, draw(st.sampled_from(("", " ", "#", ",", lines[0], lines[-1], "0"))))
        elif kind == 5:
            del lines[row]
        text = "\n".join(lines)
        if kind == 6:
            text = text[:spot]
        elif kind == 7:
            text = text[:spot] + draw(st.text(max_size=4)) + text[spot:]
        elif kind == 8:
            text = text.replace("\n", draw(st.sampled_from(ENDS)))
        elif kind == 10:
            ends = draw(st.lists(st.sampled_from(LINE_ENDS), min_size=len(lines), max_size=len(lines)))
            text = "".join(line + end for line, end in zip(text.removesuffix("\n").split("\n"), ends))
        elif kind == 9:
            text = text.replace(",", draw(st.sampled_from((";", "\t", ", ", ",,", " ,"))), draw(st.sampled_from((1, 50, -1))))
    raw = text.encode(draw(st.sampled_from(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16"))), errors="surrogatepass")
    flip = draw(st.integers(-len(raw) * 3, len(raw) - 1)) if raw else -1
    return raw if flip < 0 else raw[:flip] + bytes([raw[flip] ^ draw(st.integers(1, 255))]) + raw[flip + 1 :]


def cells_of(raw, want):
    "What the file holds, by Python's own means; None if it is not a file of digits."
    try:
        lines = raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
        rows = [[int(cell) for cell in line.split(",")] for line in lines[1:]]
    except ValueError:
        return None
    right = lines[0].strip().split(",") == want and rows and all(len(row) == len(want) for row in rows)
    right = right and all(0 <= v <= 255 for row in rows for v in row) and (want[0] != "label" or all(row[0] < 10 for row in rows))
    return np.array(rows, np.uint8) if right else None


def plain(raw):
    "Is it a file as a program writes it: ASCII, no sign, no space, no leading zero, no blank line?"
    return re.fullmatch(rb"(\xef\xbb\xbf)?[a-z0-9,]+((\r?\n|\r)(0|[1-9]\d*)(,(0|[1-9]\d*))*)+(\r?\n|\r)?", raw) is not None


@pytest.mark.slow
def test_mangled_tables(tmp_path, request):
    digits, count = load_digits(), {"read": 0, "refused": 0}
    few = Digits(digits.x[:4], digits.y[:4], digits.x_test[:4], None, "csv")
    folder, examples = export_csv(few, tmp_path / "kaggle"), request.config.getoption("examples")
    for name in ("train.csv", "test.csv"):
        check_mangled(folder, name, examples // 2, count)
    assert count["read"] > examples // 100, f"next to nothing was read: {count}"


def read_chunks(path, labelled, size):
    "The rows of all chunks, or the first error, as bytes and text; `None` reads the file at once."
    try:
        chunks = spans(path, labelled, size) if size else [None]
        return np.concatenate([block for span in chunks for block in read_blocks(path, labelled, 3, span)]).tobytes()
    except InputError as e:
        return str(e)


@st.composite
def line_ends(draw, lines):
    "A file of these lines, in which each line ends in any way: bytes."
    ends = draw(st.lists(st.sampled_from(LINE_ENDS), min_size=len(lines), max_size=len(lines)))
    last = draw(st.booleans())
    text = "".join(line + end for line, end in zip(lines, ends[: len(lines) - 1] + [ends[-1] * last]))
    return text.encode(draw(st.sampled_from(("utf-8", "utf-8-sig"))))


def test_line_ends_and_chunk_sizes(tmp_path, request):
    "2,000 files with any mixture of line ends, cut into chunks of 1 byte to the whole file: not one wrong row."
    path, rows = tmp_path / "test.csv", np.random.default_rng(0).integers(0, 256, (6, 784)).astype(np.uint8)
    write_csv(path, PIXELS, rows)
    lines = path.read_text().splitlines()

    @settings(max_examples=request.config.getoption("examples"), derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(line_ends(lines), st.integers(1, 6), st.one_of(st.integers(1, 30), st.integers(1, len(path.read_bytes()) + 20)))
    def check(raw, block, size):
        path.write_bytes(raw)
        chunks = spans(path, False, size)
        read = [b for span in chunks for b in read_blocks(path, False, block, span)]
        assert np.array_equal(np.concatenate(read), rows)
        assert np.array_equal(read_csv(path, False, cache=False)[0].reshape(-1, 784), rows)
        if chunks != [None]:
            inside = {at for span in chunks for at in span}
            assert not any(raw[at - 1 : at + 1] == b"\r\n" for at in inside), "a chunk begins between \\r and \\n"
            assert (chunks[0][0], chunks[-1][1]) == (_read_header(path, False)[0], len(raw))

    check()


@pytest.mark.parametrize("end", LINE_ENDS)
def test_the_line_of_an_error_is_counted_alike(tmp_path, end):
    path, header = tmp_path / "test.csv", ",".join(PIXELS)
    rows = [",".join("7" for _ in PIXELS)] * 9
    rows[6] = rows[6].replace("7", "seven", 1)
    path.write_bytes((header + "\r" + end.join(rows)).encode())
    for size in (1, 1000, 5000, None):
        assert "test.csv: line 8, column pixel0, is 'seven'" in read_chunks(path, False, size)


def check_mangled(folder, name, examples, count):
    "Mangle one file that many times."
    labelled, path = name == "train.csv", folder / name
    want = ["label"] * labelled + PIXELS

    @settings(max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(mangled(path.read_text()), st.sampled_from((1, 7, 900, 2_000, 9_000)))
    def check(raw, size):
        path.write_bytes(raw)
        expected, before = cells_of(raw, want), sorted(folder.iterdir())
        try:
            x, y = read_csv(path, labelled, cache=False)
        except InputError as e:
            count["refused"] += 1
            assert expected is None or not plain(raw), f"a file of digits was refused: {e}"
            header = raw.decode("utf-8-sig", "replace").replace("\r", "\n").split("\n")[0].strip().split(",")
            assert name in str(e), f"no file in: {e}"
            assert header != want or "line " in str(e) or "no digit below" in str(e), f"no line in: {e}"
        else:
            count["read"] += 1
            assert expected is not None, "a file that holds no digits was read"
            assert np.array_equal(x.reshape(len(x), -1), expected[:, labelled:])
            assert not labelled or np.array_equal(y, expected[:, 0])
        assert read_chunks(path, labelled, size) == read_chunks(path, labelled, None), f"chunks of {size} bytes"
        assert sorted(folder.iterdir()) == before

    check()
