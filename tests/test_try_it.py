"""The stage pages as a learner uses them: a picture first, cells to try that take other values, decisions and tests at the end."""
import ast
import copy
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from digit_recognizer.core.pages import PLOTLY_MIME, TRY
from test_structure import STAGES, cells, source

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import outputs  # noqa: E402

PAGES = [f"{number:02}_{name}" for number, name in enumerate(STAGES)]
BOX = "> **Try it.** "
CHECK = re.compile(r"\b(assert|test_(eq|ne|close)|ExceptionExpected|assert_(allclose|array_equal))\b")
SILLY = {int: [-1, 0, 99_999, "seven"], float: [-1.0, 7.0, "seven"], str: ["", "seven", 7], tuple: [(0, 12), (4,), "seven"], list: [[], [1e9, 0.0], "seven"]}
TOO_LARGE = {"width": 99_999}  # networks of this width fill the memory


def page_cells(name):
    return cells(ROOT / "nbs" / f"{name}.ipynb")


def boxes(page):
    "The numbers of the code cells below a Try-it box, in a list of cells."
    return [i + 1 for i, c in enumerate(page) if c["cell_type"] == "markdown" and BOX in source(c)]


def invitation(code):
    "The name in the first line of a cell, the value that it has, and those to try."
    name, value, others = TRY.match(code.split("\n")[0]).groups()
    return name, ast.literal_eval(value), list(ast.literal_eval(f"[{others}]"))


def with_value(code, value):
    "A cell with another value in its first line."
    name, _, others = TRY.match(code.split("\n")[0]).groups()
    return "\n".join([f"{name} = {value!r}  # try {others}", *code.split("\n")[1:]])


def story(page):
    "The cells before the tests."
    return page[: next(i for i, c in enumerate(page) if source(c).startswith("## Tests"))]


@pytest.mark.parametrize("name", PAGES)
def test_two_or_more_cells_to_try(name):
    page = page_cells(name)
    found = boxes(page)
    assert 2 <= len(found) <= 4 and found[-1] < len(story(page))
    for i in found:
        assert "?" in source(page[i - 1]) and TRY.match(source(page[i]).split("\n")[0]), source(page[i])
        variable, value, others = invitation(source(page[i]))
        assert f"`{variable}`" in source(page[i - 1]) and len(others) >= 3 and value not in others, source(page[i])
        assert page[i]["outputs"], source(page[i])


@pytest.mark.parametrize("name", PAGES)
def test_every_cell_that_invites_has_a_box(name):
    page = page_cells(name)
    assert boxes(page) == [i for i, c in enumerate(page) if c["cell_type"] == "code" and TRY.match(source(c).split("\n")[0])]


@pytest.mark.parametrize("name", PAGES)
def test_checks_stand_at_the_end(name):
    found = [source(c) for c in story(page_cells(name)) if c["cell_type"] == "code" and CHECK.search(re.sub(r".*\bimport\b.*", "", source(c)))]
    assert not found, "\n\n".join(found)


@pytest.mark.parametrize("name", PAGES)
def test_a_picture_first_and_the_decisions_last(name):
    page = story(page_cells(name))
    first = next(o["data"] for c in page if c["cell_type"] == "code" for o in c["outputs"])
    assert {PLOTLY_MIME, "image/svg+xml"} & first.keys()
    headings = [line for c in page if c["cell_type"] == "markdown" for line in source(c).splitlines() if line.startswith("## ")]
    assert headings[-1] == "## What was decided"
    decisions = [line for line in source(page[-1]).splitlines() if line.startswith("- **")]
    assert 3 <= len(decisions) <= 5 and all(re.search(r"\]\(", line) or "because" in line for line in decisions)


def told(client, cell, number, code):
    "Run a cell with other code; the error in one line, or None."
    changed = copy.deepcopy(cell)
    changed.source = code
    try:
        client.execute_cell(changed, number)
    except CellExecutionError as e:
        said = "".join(o.text for o in changed.outputs if o.get("name") == "stderr").strip().split("\n")[-1]
        assert said == f"{e.ename}: {e.evalue}" and len(said) < 250, f"{code}\n{e}"
        assert e.ename != "AssertionError" and not any(o.output_type == "error" for o in changed.outputs), f"{code}\n{e}"
        return said


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_other_values_give_a_result(name):
    """Each cell to try runs with each value that it names; silly values end in one line.
    Then the page runs to its end, tests and all, with the first other value."""
    path = ROOT / "nbs" / f"{name}.ipynb"
    nb = nbformat.read(path, as_version=4)
    client, invited = NotebookClient(nb, timeout=outputs.TIMEOUT, resources={"metadata": {"path": str(path.parent)}}), boxes(nb.cells)
    with client.setup_kernel():
        for number, cell in enumerate(nb.cells):
            if number in invited:
                variable, value, others = invitation(cell.source)
                for silly in SILLY[type(value)]:
                    if TOO_LARGE.get(variable) != silly:
                        print(f"{variable} = {silly!r}:", told(client, cell, number, with_value(cell.source, silly)))
                for other in reversed(others):
                    error = told(client, cell, number, with_value(cell.source, other))
                    assert error is None, f"{variable} = {other!r}: {error}"
            elif cell.cell_type == "code":
                client.execute_cell(cell, number)
