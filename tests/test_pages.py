"""Notebooks anywhere: without nbdev, from any working directory; and nothing in them that changes from run to run."""
import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from digit_recognizer.docs import show_table
from test_structure import cells, notebooks, source

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import outputs  # noqa: E402

DEVELOPMENT = ["nbdev", "execnb", "fastcore", "ghapi", "smalldocs", "jupyterlab", "ruff", "playwright", "axe_playwright_python",
               "hypothesis", "pytest", "xdist", "importlinter", "mypy", "nbformat", "nbclient", "nbconvert"]
SITE = "docs.ipynb"  # builds the site by nbdev; its set-up alone works without
IMPORTER = """import json, sys, traceback
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked}: raise ModuleNotFoundError(f'{{name}} is not installed here', name=name)

sys.meta_path.insert(0, Blocked())
failed = {{}}
for page, setup in json.load(sys.stdin):
    space = {{'__name__': '__main__'}}
    try:
        for cell in setup: exec(cell, space)
    except Exception: failed[page] = traceback.format_exc(limit=-1)
print('\\n' + json.dumps(failed))
"""


def is_setup(code):
    "Does a cell only import, or only set up the figures of the page?"
    return all(isinstance(n, (ast.Import, ast.ImportFrom)) or ast.unparse(n) == "page_setup()" for n in ast.parse(code).body)


def setup_cells(path):
    "The cells of a notebook that import; on the page about the site only those at the top."
    codes = [source(c) for c in cells(path) if c["cell_type"] == "code" and not re.search(r"^[%!]", source(c), re.M)]
    if path.name == SITE:
        codes = codes[: next(i for i, code in enumerate(codes) if not is_setup(code))]
    return [code for code in codes if is_setup(code)]


def failures(pages):
    "Run set-up cells in a fresh process where nothing of the development tools can be imported: page -> error."
    told = subprocess.run([sys.executable, "-c", IMPORTER.format(blocked=set(DEVELOPMENT))], input=json.dumps(pages), cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout.splitlines()[-1])


def test_pages_start_without_the_development_tools():
    pages = [(path.relative_to(ROOT / "nbs").as_posix(), setup_cells(path)) for path in notebooks(ROOT)]
    assert sum(len(setup) > 1 for _, setup in pages) >= 50
    failed = failures(pages)
    assert not failed, "\n".join(f"{page}: {error}" for page, error in failed.items())


def test_an_import_of_nbdev_is_found():
    failed = failures([("a", ["import os"]), ("b", ["import os", "from fastcore.test import test_eq"]), ("c", ["import json"])])
    assert list(failed) == ["b"] and "fastcore is not installed here" in failed["b"]


def test_pages_name_their_files_from_the_repository():
    pattern = re.compile(r"""['"](\.\./)*(results|samples|benchmarks|tests)/[^'"]*['"]""")
    found = [f"{path.name}: {line}" for path in notebooks(ROOT) for c in cells(path) if c["cell_type"] == "code" and not c["source"][0].startswith("#| export")
             for line in source(c).splitlines() if pattern.search(re.sub(r"project_file\([^)]*\)", "", line))
             and re.search(r"open|read|load|Path\(|path\.insert", line)]
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["04_evaluate", "core/figures", "core/kaggle", "images/pieces", "runs/records", "scale/machines"])
def test_pages_run_in_the_folder_of_the_repository(name):
    outputs.executed(ROOT / "nbs" / f"{name}.ipynb", folder=ROOT)


def test_no_output_shows_an_address_in_the_memory():
    shown = re.compile(r"\b0x[0-9a-fA-F]{6,}")
    found = [f"{path.name}: {m[0]}" for path in notebooks(ROOT) for c in cells(path) if c["cell_type"] == "code"
             for m in shown.finditer(json.dumps(c["outputs"]))]
    assert not found, found


@pytest.mark.parametrize("module", sorted(p.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
                                          for p in (ROOT / "digit_recognizer").rglob("*.py") if not p.name.startswith("_")))
def test_no_signature_shows_an_address_in_the_memory(module):
    found = importlib.import_module(module)
    for name in getattr(found, "__all__", []):
        thing = getattr(found, name)
        if callable(thing) and getattr(thing, "__module__", "") == module:
            assert "0x" not in show_table(thing)._repr_markdown_(), name
