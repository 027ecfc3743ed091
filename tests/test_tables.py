"""What people really have in the place of the competition's files: each is read right, or one line says what was found and the step that helps.

The four doors for tables (digits to train on, digits to predict, submissions, corrections) give the same diagnosis. A file that changes while it is read
is refused. The small inputs that once failed stand beside the repository (see the README there); their tests are skipped where that folder is absent.
"""
import bz2
import gzip
import lzma
import os
import shutil
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import run

from digit_recognizer.analysis.labels import read_corrections
from digit_recognizer.core import tables
from digit_recognizer.core.files import InputError
from digit_recognizer.core.tables import PIXELS, find_kaggle_files, read_blocks, read_csv, read_kaggle_files, spans, write_csv
from digit_recognizer.submit import check_submission, submission_problems, write_submission

ROWS = np.column_stack([np.arange(20) % 10, np.random.default_rng(1).integers(0, 256, (20, 784))]).astype(np.uint8)
HEADER = ["label", *PIXELS]


@pytest.fixture
def folder(tmp_path):
    "A folder with both files, twenty digits in each."
    (tmp_path / "kaggle").mkdir()
    write_csv(tmp_path / "kaggle/train.csv", HEADER, ROWS)
    write_csv(tmp_path / "kaggle/test.csv", PIXELS, ROWS[:, 1:])
    return tmp_path / "kaggle"


def message_of(read, *args, **options):
    "The one line of an `InputError`."
    with pytest.raises(InputError) as caught:
        read(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_read(path):
    x, y, x_test, _ = read_kaggle_files(path, cache=False)
    assert np.array_equal(np.column_stack([y, x.reshape(-1, 784)]), ROWS) and np.array_equal(x_test, x)


def pack(path, members):
    "Write a zip of (name, content)."
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as z:
        warnings.simplefilter("ignore")  # two entries of one name
        for name, content in members:
            z.writestr(name, content)
    return path


# --- both files: folders and zips ---------------------------------------------------------------------------------------------------


def test_files_that_are_nearly_there_are_read(folder, tmp_path):
    content = {name: (folder / name).read_bytes() for name in tables.KAGGLE_FILES}
    (folder / "train.csv.zip").write_bytes(b"an unfinished download beside the unpacked file")
    (folder / "._train.csv").write_bytes(b"\0")
    assert_read(folder)
    assert_read(tmp_path)  # one folder deeper
    layouts = {
        "upper": {"TRAIN.CSV": content["train.csv"], "Test.csv": content["test.csv"]},
        "mixed": {"train.csv": content["train.csv"], "Test.csv.zip": content["test.csv"]},
        "single": {"train.csv.zip": content["train.csv"], "test.csv.zip": content["test.csv"]},
        "deep": {"a/TRAIN.csv.zip": content["train.csv"], "a/test.csv": content["test.csv"]},
    }
    for name, files in layouts.items():
        for file, data in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(exist_ok=True, parents=True)
            pack(path, [(file.split("/")[-1][:-4], data)]) if file.endswith(".zip") else path.write_bytes(data)
        assert_read(tmp_path / name)
    assert_read(pack(tmp_path / "w.zip", [("data\\train.csv", content["train.csv"]), ("data\\test.csv", content["test.csv"])]))
    assert_read(pack(tmp_path / "n.zip", [(f"{n}.zip", pack(tmp_path / "one.zip", [(n, content[n])]).read_bytes()) for n in content]))


@pytest.mark.parametrize("layout", ["{}", "./{}", "/{}", "../{}", "a/b/{}", "C:\\data\\{}", "train.csv/{}", "../../x/{}"])
def test_zips_of_every_layout(folder, tmp_path, layout):
    "With folders of their own, companions of macOS and other tables beside the two files."
    members = [(layout.format(name), (folder / name).read_bytes()) for name in tables.KAGGLE_FILES]
    more = ["train.csv/", "__MACOSX/", "__MACOSX/._train.csv", "__MACOSX/train.csv", "._test.csv", "sample_submission.csv", "train_small.csv", "x/notes.csv"]
    assert_read(pack(tmp_path / "data.zip", [(name, b"") for name in more] + members))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.zip", "kaggle"]


@pytest.mark.parametrize(
    "names, told",
    [
        (["a/train.csv", "a/test.csv", "b/train.csv"], ["'a/train.csv'", "'b/train.csv'"]),
        (["train.csv", "train.csv", "test.csv"], ["more than one train.csv ('train.csv', 'train.csv')"]),
        (["Train.csv", "train.csv", "test.csv"], ["'Train.csv'", "'train.csv'"]),
        (["a/train.csv", "a/test.csv", "A/test.csv"], ["'a/test.csv'", "'A/test.csv'"]),
        (["a/train.csv", "b/test.csv"], ["different folders", "'a/train.csv'", "'b/test.csv'"]),
        (["a/train.csv", "b/test.csv.zip"], ["different folders", "'b/test.csv.zip'"]),
        (["a/train.csv", "A/test.csv"], ["different folders"]),
        (["train.csv", "./train.csv", "test.csv"], ["'train.csv'", "'./train.csv'"]),
    ],
)
def test_two_files_of_one_name_are_refused_and_named(tmp_path, names, told):
    message = message_of(read_kaggle_files, pack(tmp_path / "data.zip", [(name, "x") for name in names]))
    assert all(text in message for text in told), message
    if len(set(names)) == len(names) and not any(name[0] in "A." for name in names):  # the same files, unpacked
        for name in names:
            (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "folder" / name).write_text("x")
        assert all(text in message_of(read_kaggle_files, tmp_path / "folder") for text in told)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.lists(st.tuples(st.sampled_from(["", "a/", "b/", "A/", "a\\"]), st.sampled_from(["train.csv", "Train.CSV", "test.csv", "train.csv.zip", "test.csv.zip", "notes.txt"])), max_size=6))
def test_the_two_files_are_from_one_folder(parts):
    "Any layout of a zip: the only train.csv and the only test.csv of the same folder, or an error."
    names = [folder + file for folder, file in parts]
    try:
        chosen = find_kaggle_files("x.zip", names)
    except InputError:
        return
    folders = {name.replace("\\", "/").rpartition("/")[0] for name in chosen}
    assert len(folders) == 1 and all(sum(name.lower().endswith(file) for name in names) <= 1 for file in tables.KAGGLE_FILES)


@pytest.mark.parametrize(
    "name, step",
    [("train (1).csv", "rename it to train.csv"), ("train.csv.txt", "rename it to train.csv"), ("mnist_train.csv", "rename it to train.csv"), ("train.csv.gz", "unpack it"),
     ("train.csv.crdownload", "wait until it is downloaded, or download it again"), ("train.xlsx", "save it as CSV under the name train.csv"), ("digit-recognizer.zip", "give that file"),
     ("deep/train.csv", "put both files into one folder")])  # fmt: skip
def test_what_is_missing_is_found_under_another_name(folder, name, step):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / "train.csv").rename(folder / name)
    message = message_of(read_kaggle_files, folder)
    assert f"has no train.csv (found {name!r}; {step})" in message and "test.csv (" not in message


def test_zips_that_cannot_be_unpacked(folder, tmp_path):
    good = pack(tmp_path / "good.zip", [(name, (folder / name).read_bytes()) for name in tables.KAGGLE_FILES]).read_bytes()
    at = good.index(b"PK\1\2")
    for raw, told in {
        good[: at + 8] + b"\1" + good[at + 9 :]: "train.csv is locked with a password; unpack it, and give the folder",
        good[: at + 10] + b"\x09" + good[at + 11 :]: "cannot be unpacked here",
        good[:-20]: "not a zip file, or a damaged one; download it again",
        gzip.compress(good): "is compressed by gzip; unpack it first",
        b"7z\xbc\xaf\x27\x1c": "is a 7z archive; unpack it first",
    }.items():
        (tmp_path / "bad.zip").write_bytes(raw)
        assert told in message_of(read_kaggle_files, tmp_path / "bad.zip")


def test_damaged_zips_are_refused_in_one_line(folder, tmp_path):
    "One byte changed anywhere: the same digits, or an `InputError`."
    rng, path = np.random.default_rng(0), tmp_path / "damaged.zip"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", method) as z:
            for name in tables.KAGGLE_FILES:
                z.write(folder / name, name)
        good = path.read_bytes()
        ends = [*range(60), *range(len(good) - 190, len(good)), *rng.integers(0, len(good), 40).tolist()]
        for at in ends:
            path.write_bytes(good[:at] + bytes([good[at] ^ int(rng.integers(1, 256))]) + good[at + 1 :])
            try:
                assert_read(path)
            except InputError as e:
                assert "damaged.zip" in str(e) and "\n" not in str(e)


# --- one diagnosis for all tables -----------------------------------------------------------------------------------------------------


def rewritten(text, change):
    return "".join(f"{change(i, line)}\n" for i, line in enumerate(text.splitlines())).encode()


MANGLED = {  # what was done to a good table -> its bytes, and what all doors say
    "semicolons": (lambda text: text.replace(",", ";").encode(), "separated by semicolons; expected commas; write the file again with commas"),
    "tabs": (lambda text: text.replace(",", "\t").encode(), "separated by tabs; expected commas; write the file again with commas"),
    "spaces": (lambda text: text.replace(",", " ").encode(), "separated by spaces; expected commas; write the file again with commas"),
    "UTF-16": (lambda text: text.encode("utf-16"), "is UTF-16; save it as plain UTF-8"),
    "UTF-16 without a mark": (lambda text: text.encode("utf-16-be"), "is UTF-16; save it as plain UTF-8"),
    "gzip": (lambda text: gzip.compress(text.encode()), "is compressed by gzip; unpack it first"),
    "xz": (lambda text: lzma.compress(text.encode()), "is compressed by xz; unpack it first"),
    "bzip2": (lambda text: bz2.compress(text.encode()), "is compressed by bzip2; unpack it first"),
    "zip": (lambda text: b"PK\3\4\x14\0\0\0\x08\0" + text.encode(), "is a zip file; unpack it first"),
    "Excel": (lambda text: b"PK\3\4\x14\0\0\0\x08\0[Content_Types].xml", "is an Excel workbook; save it as 'CSV UTF-8'"),
    "a hint for Excel": (lambda text: b"sep=,\n" + text.encode(), "begins with a hint for Excel (sep=); remove that line"),
    "web page": (lambda text: b"\n<!DOCTYPE html><html>Sign in</html>", "is a web page"),
    "empty": (lambda text: b"\xef\xbb\xbf\n", "the file is empty"),
    "zeros": (lambda text: bytes(4096), "holds nothing but zero bytes"),
}  # fmt: skip
HEADERS = {  # strict doors: digits and submissions
    "CRLF as text": (lambda text: text.replace("\n", "\r\r\n").encode(), "ends in CR CR LF (CRLF, written as text on Windows)"),
    "blank lines first": (lambda text: ("\n\n" + text).encode(), "is blank, expected the header; remove blank lines"),
    "quotes": (lambda text: rewritten(text, lambda i, line: '"' + line.replace(",", '","') + '"'), "the header is in quotes"),
    "index column": (lambda text: rewritten(text, lambda i, line: f"{i - 1 if i else ''},{line}"), "an index column ('') stands before"),
    "Unnamed: 0": (lambda text: rewritten(text, lambda i, line: f"{i - 1 if i else 'Unnamed: 0'},{line}"), "an index column ('Unnamed: 0') stands before"),
    "trailing comma": (lambda text: rewritten(text, lambda i, line: line + ","), "a comma stands after the last column; remove it"),
    "spaces beside commas": (lambda text: text.replace(",", ", ").encode(), "a space stands beside a comma"),
    "without a header": (lambda text: text.split("\n", 1)[1].encode(), "add that line at the top"),
    "upper case": (lambda text: text.replace("abel", "ABEL").replace("ixel", "IXEL").encode(), "case counts; rename it"),
    "another column": (lambda text: rewritten(text, lambda i, line: line + (",1" if i else ",note")), "1 not expected (first: 'note')"),
}  # fmt: skip


@pytest.mark.parametrize("what", [*MANGLED, *HEADERS])
def test_every_door_gives_the_same_diagnosis(folder, tmp_path, what):
    change, told = (MANGLED | HEADERS)[what]
    for name, labelled in (("train.csv", True), ("test.csv", False)):
        (folder / name).write_bytes(change((folder / name).read_text()))
        assert told in message_of(read_csv, folder / name, labelled, cache=False), name
        assert told in message_of(spans, folder / name, labelled), name
    submission, audit = tmp_path / "submission.csv", tmp_path / "audit.csv"
    write_submission(ROWS[:, 0], submission)
    submission.write_bytes(change(submission.read_text()))
    assert [told in problem for problem in submission_problems(submission, 20)] == [True]
    if what in MANGLED:
        audit.write_bytes(change("row,label,suggested,p_label,p_suggested,corrected\n0,0,7,0.1,0.9,7\n"))
        assert told in message_of(read_corrections, audit, ROWS[:, 0])


@pytest.mark.parametrize(
    "told, change",
    [
        ("has pixels from 0 to 1 ('0.", lambda i, v: f"{v / 255:.6f}"), ("numbers with a decimal point", lambda i, v: f"{v}.0"), ("has pixels from 0 to 1", lambda i, v: f"{v / 255:.18e}"),
        ("give the original pixels", lambda i, v: f"{(v - 33.3) / 78:.4f}")])  # fmt: skip
def test_pixels_of_another_scale(folder, told, change):
    lines = [",".join(change(i, int(v)) for i, v in enumerate(row[1:])) for row in ROWS]
    (folder / "test.csv").write_text("\n".join([",".join(PIXELS), *lines]) + "\n")
    assert told in message_of(read_csv, folder / "test.csv", False, cache=False)
    assert told in message_of(lambda: [list(read_blocks(folder / "test.csv", False, 7, span)) for span in spans(folder / "test.csv", False, 40_000)])


@pytest.mark.parametrize("told, change", [("multiply the pixels by 255", lambda rows: rows // 128), ("stretch the grey levels", lambda rows: rows // 16)])
def test_integers_of_another_scale(folder, told, change):
    write_csv(folder / "test.csv", PIXELS, change(ROWS[:, 1:]))
    assert told in message_of(read_kaggle_files, folder, cache=False)
    assert len(read_csv(folder / "test.csv", False, cache=False)[0]) == 20  # a part of a file can be dark


def test_the_header_of_mnist_in_csv_is_read(folder):
    grid = [f"{row}x{column}" for row in range(1, 29) for column in range(1, 29)]
    for name, first in (("train.csv", ["label"]), ("test.csv", [])):
        text = (folder / name).read_text().split("\n", 1)[1]
        (folder / name).write_text(",".join(first + grid) + "\n" + text)
    assert_read(folder)
    grid[5], grid[6] = grid[6], grid[5]
    (folder / "test.csv").write_text(",".join(grid) + "\n" + text)
    assert "in another order" in message_of(read_kaggle_files, folder)


def test_a_piece_of_a_long_line_is_not_a_row(folder):
    row = ",".join(["7"] * 784)
    (folder / "test.csv").write_text(f"{','.join(PIXELS)}\n{row}{' ' * (65_536 - len(row))}{row}\n")
    assert "line 2 is longer than 65,536 characters" in message_of(read_csv, folder / "test.csv", False, cache=False)


# --- submissions ----------------------------------------------------------------------------------------------------------------------


def test_the_same_mistake_in_28_000_lines_is_one_problem(tmp_path):
    labels, path = np.arange(28_000) % 10, tmp_path / "submission.csv"
    ids = np.random.default_rng(0).permutation(28_000)
    for told, lines in {
        "the ids are complete, but in another order": [f"{i + 1},{labels[i]}" for i in ids],
        "line 2 and 27,999 more are not plain integers ('1,0.0')": [f"{i + 1},{v}.0" for i, v in enumerate(labels)],
        "in pandas with astype(int)": [f"{i + 1:.18e},{v:.18e}" for i, v in enumerate(labels)],
        "expected 1: ids run from 1": [f"{i},{v}" for i, v in enumerate(labels)],
    }.items():
        path.write_text("\n".join(["ImageId,Label", *lines]) + "\n")
        problems = submission_problems(path)
        assert len(problems) == 1 and told in problems[0], problems
        assert told in message_of(check_submission, path)
    path.write_text("\n".join(["ImageId,Label", *(f"{max(i, 1) + 1},{labels[i]}" for i in ids)]) + "\n")
    problems = submission_problems(path)
    assert len(problems) == 3 and "the ids are in another order" in problems[0], problems


@pytest.mark.parametrize("ends, told", [("\r", "line 1: the lines end in CR"), ("\r\n", None), ("\n", None)])
def test_line_ends_of_a_submission(tmp_path, ends, told):
    path = tmp_path / "submission.csv"
    path.write_bytes(write_submission([3, 1, 4], tmp_path / "good.csv").read_bytes().replace(b"\n", ends.encode()))
    assert [told in problem for problem in submission_problems(path, 3)] == ([True] if told else [])
    path.write_bytes(b"ImageId,Label\n1,3\r2,1\n3,4\n")
    assert submission_problems(path, 3) == ["line 2: the lines end in CR alone, as on old Macs; save the file with LF or CRLF"]


@pytest.mark.parametrize("labels", [["three"], [1.5], [np.nan], [10], [-1], [256], np.full((4, 10), 0.1), np.zeros((0,), int), [None], [[1, 2]], 7, "123x"])
def test_labels_that_are_not_digits_are_not_written(tmp_path, labels):
    assert message_of(write_submission, labels, tmp_path / "submission.csv").startswith("write_submission: ")
    assert not list(tmp_path.iterdir())


# --- blocks and chunks ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows, size", [(8, 10**9), (19, 10**9), (20, 10**9), (7, 20_000), (4, 30_000)])
def test_no_block_is_much_shorter_than_the_others(folder, rows, size):
    "A few rows at the end of a file are judged with those before them: one odd image among them is not a share."
    chunks = spans(folder / "test.csv", False, size)
    blocks = [list(read_blocks(folder / "test.csv", False, rows, span)) for span in chunks]
    assert np.array_equal(np.concatenate([block for some in blocks for block in some]), ROWS[:, 1:])
    assert all(rows / 2 <= len(block) <= 1.5 * rows for some in blocks if len(some) > 1 for block in some)
    assert chunks == [None] or all(size / 2 - 6000 <= stop - start <= 1.5 * size + 3000 for start, stop in chunks[1:])


# --- files that change ----------------------------------------------------------------------------------------------------------------


def test_a_file_that_changes_while_it_is_read_is_refused(folder):
    path, text = folder / "test.csv", (folder / "test.csv").read_bytes()
    changes = {
        "longer": lambda: path.write_bytes(text + text[-1000:]),
        "shorter": lambda: path.write_bytes(text[:-5000]),
        "the same size": lambda: (path.write_bytes(text[:-4] + b"255\n"), os.utime(path, ns=(1, 1))),
        "replaced": lambda: (shutil.copy(path, folder / "new"), os.replace(folder / "new", path)),
        "deleted": path.unlink,
    }
    for what, change in changes.items():
        for size in (10_000, 10**9):
            path.write_bytes(text)
            for span in spans(path, False, size):
                path.write_bytes(text)
                blocks = read_blocks(path, False, 1, span)
                next(blocks)
                change()
                assert "test.csv: changed while it was read" in message_of(list, blocks), what


def test_rows_are_cached_under_the_checksum_of_what_was_read(folder, tmp_path, monkeypatch):
    "The file changes between the checksum and reading; size, time and inode stay the same."
    path, cache = folder / "test.csv", tmp_path / "cache"
    text, old, checksum = path.read_bytes(), os.stat(path), tables.sha256

    def change_after(file):
        found = checksum(file)
        path.write_bytes(text.replace(b",99,", b",98,"))
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
        return found

    monkeypatch.setattr(tables, "sha256", change_after)
    assert "test.csv: changed while it was read" in message_of(read_csv, path, False, cache)
    assert not cache.exists()
    monkeypatch.undo()
    path.write_bytes(text)
    for _ in range(2):
        assert np.array_equal(read_csv(path, False, cache)[0].reshape(-1, 784), ROWS[:, 1:])


# --- the commands, and the cases --------------------------------------------------------------------------------------------------------


def test_the_commands_say_it_in_one_line(folder, tmp_path):
    submission = tmp_path / "submission.csv"
    submission.write_text("ImageId;Label\n1;7\n")
    (folder / "train.csv").write_bytes(rewritten((folder / "train.csv").read_text(), lambda i, line: line + ","))
    for words, told in (
        (["check", submission, "--rows", "1"], "submission.csv: line 1: the cells are separated by semicolons; expected commas; write the file again with commas"),
        (["run", "--data", folder, "--out", tmp_path / "run"], "train.csv: a comma stands after the last column; remove it from every line"),
    ):
        done = run(words)
        assert done.returncode == 2 and told in " ".join(done.stderr.split()) and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "run").exists()


def test_cases_of_tables(cases):
    for name, told in {
        "two-train-csv.zip": ["more than one train.csv", "'digit-recognizer/train.csv'", "'backup/train.csv'"],
        "index-column": ["train.csv: an index column ('') stands before label"],
        "trailing-comma": ["train.csv: a comma stands after the last column"],
    }.items():
        message = message_of(read_kaggle_files, cases / "tables" / name)
        assert all(text in message for text in told), message
    read = [read_kaggle_files(cases / "tables" / name) for name in ("upper-case", "single-downloads")]
    assert all(np.array_equal(a, b) for a, b in zip(*read)) and read[0][0].shape == (40, 28, 28)


def test_cases_of_submissions(cases):
    for name, told in {"cr-line-ends.csv": "lines end in CR", "other-order.csv": "the ids are complete, but in another order"}.items():
        problems = submission_problems(cases / "submissions" / name, 20)
        assert len(problems) == 1 and told in problems[0], problems
