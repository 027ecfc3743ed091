"""nbdev's own tools on a copy of the repository: the hooks leave it clean, and no figure loses its picture."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from repository import committed_copy, git, status

from digit_recognizer.core.pages import PLOTLY_MIME, join_sources
from digit_recognizer.docs import notebook_paths, process_notebook

ROOT = Path(__file__).resolve().parent.parent
PAGE = "nbs/core/figures.ipynb"  # has figures that are pictures, and is processed without TensorFlow


@pytest.fixture
def copy(tmp_path):
    return committed_copy(ROOT, tmp_path / "copy")


def tool(folder, *words):
    "Run a program of this environment in a folder that stands in a home of its own."
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    told = subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, "PATH": path, "HOME": str(folder.parent)})
    assert told.returncode == 0, told.stdout + told.stderr


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def sources(path):
    "The pictures in the figures of a notebook."
    figures = [o["data"][PLOTLY_MIME] for c in read(path)["cells"] for o in c.get("outputs", []) if PLOTLY_MIME in o.get("data", {})]
    return [trace["source"] for figure in figures for trace in figure["data"] if "source" in trace]


@pytest.mark.parametrize("name", notebook_paths(ROOT / "nbs"))
def test_no_committed_figure_is_split(name):
    assert join_sources(read(ROOT / "nbs" / name)) == 0, "run: python tools/clean.py"


def test_install_hooks(copy):
    tool(copy, "nbdev_install_hooks")
    assert (copy / ".gitconfig").exists() and git(copy, "config", "merge.nbdev-merge.driver")
    assert status(copy) == ""


def joined_again(copy, before):
    "tools/clean.py gives back the pictures that were split; until then a page of the site has them too."
    text = (copy / PAGE).read_text(encoding="utf-8")
    page = process_notebook(text, copy / "nbs")
    assert all(f'"source": "{picture}"'.replace('"', '\\"') in page for picture in before)
    tool(copy, sys.executable, "tools/clean.py")
    assert sources(copy / PAGE) == before


def test_update(copy):
    before, module = sources(copy / PAGE), copy / "digit_recognizer" / "core" / "figures.py"
    assert before
    module.write_text(module.read_text(encoding="utf-8").replace("_GAP = 3", "_GAP = 1+2"), encoding="utf-8")
    tool(copy, "nbdev_update", "--fname", str(module))
    assert "_GAP = 1+2" in (copy / PAGE).read_text(encoding="utf-8")
    assert all(isinstance(picture, list) for picture in sources(copy / PAGE)), "nbdev_update splits no more: tools/clean.py can go"
    joined_again(copy, before)


def retitle(copy, title):
    "Commit another title in the saved form of the page's first figure."
    notebook = read(copy / PAGE)
    figure = next(o["data"][PLOTLY_MIME] for c in notebook["cells"] for o in c.get("outputs", []) if PLOTLY_MIME in o.get("data", {}))
    figure["layout"]["title"]["text"] = title
    (copy / PAGE).write_text(json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    git(copy, "commit", "-q", "-a", "-m", title)


def test_merge(copy):
    before = sources(copy / PAGE)
    tool(copy, "nbdev_install_hooks")
    git(copy, "checkout", "-q", "-b", "other")
    retitle(copy, "theirs")
    git(copy, "checkout", "-q", "main")
    retitle(copy, "ours")
    tool(copy, "git", "-c", "user.name=Test", "-c", "user.email=test@localhost", "merge", "-q", "other", "-m", "merged")
    assert any(isinstance(picture, list) for picture in sources(copy / PAGE)), "nbdev_merge splits no more: tools/clean.py can go"
    joined_again(copy, before)
