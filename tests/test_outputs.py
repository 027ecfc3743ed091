"""The saved outputs of each notebook are those of its code, run in a kernel of its own."""
import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import outputs  # noqa: E402


@pytest.mark.slow
@pytest.mark.parametrize("notebook", [p.relative_to(ROOT).as_posix() for p in outputs.notebooks()])
def test_outputs_are_those_of_the_code(notebook):
    wrong = outputs.check(ROOT / notebook)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("change, equal", [(0, True), (2, True), (9, False)])
def test_only_a_grey_level_or_two_may_differ(change, equal):
    import base64
    from io import BytesIO

    from PIL import Image

    def png(level):
        file = BytesIO()
        Image.new("L", (4, 4), level).save(file, "PNG")
        return outputs.PNG + base64.b64encode(file.getvalue()).decode()

    assert outputs.same({"source": png(100)}, {"source": png(100 + change)}) == equal
    assert not outputs.same({"text": "52 errors"}, {"text": "53 errors"})


def test_what_a_cell_prints_is_one_output(tmp_path):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import time\nfor n in range(3): print(n, flush=True); time.sleep(.3)")])
    nbformat.write(nb, tmp_path / "page.ipynb")
    assert outputs.shown(outputs.executed(tmp_path / "page.ipynb").cells[0]) == [{"text": "0\n1\n2\n"}]


@pytest.mark.parametrize("notebook", outputs.notebooks(), ids=lambda p: p.stem)
def test_no_saved_output_is_a_log_of_tensorflow(notebook):
    printed = [o.text for cell in nbformat.read(notebook, as_version=4).cells for o in cell.get("outputs", []) if o.output_type == "stream"]
    assert not [text for text in printed if re.search(r"^WARNING|^[IWEF]\d{4}|absl|port\.cc|retracing", text, re.MULTILINE)]


def test_what_a_live_cell_shows_is_dropped():
    live, still = ({"cell_type": "code", "source": source, "outputs": [{}]} for source in ("#| live\nshow()", "show() # live"))
    notebook = {"cells": [live, still, {"cell_type": "markdown", "source": "#| live"}]}
    assert outputs.drop_live_outputs(notebook) == 1
    assert live["outputs"] == [] and still["outputs"] == [{}]
    assert outputs.drop_live_outputs(notebook) == 0
