"""The structure of the package: floors, one module for each notebook, cells of a readable size, no TensorFlow where none is needed."""
import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

WITHOUT_TENSORFLOW = ("core.recipe", "core.tables", "core.predict", "core.jobs", "core.network", "data", "evaluate", "submit", "images.read", "images.pieces", "images.lists", "images.numbers", "images.review", "runs.folder", "runs.models", "runs.network", "runs.export", "runs.verify", "runs.sweep", "runs.entries", "runs.blend", "analysis.compare", "analysis.digit_map", "analysis.explain", "analysis.ranking", "scale.scoring", "web.page", "cli", "lessons.checks")
STAGES = ("data", "preprocess", "model", "train", "evaluate", "submit")


def notebooks(root):
    return sorted(p for p in (root / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def source(cell):
    return "".join(cell["source"])


def export_cells(path):
    return [source(c) for c in cells(path) if c["cell_type"] == "code" and re.search(r"^#\|\s*export", source(c), re.M)]


def definition_lines(cell):
    "The lines of an export cell that are neither blank, nor imports, nor directives."
    return [line for line in cell.splitlines() if line.strip() and not re.match(r"#\||import |from ", line)]


def test_imports_go_down_the_floors(root):
    program = Path(sys.executable).with_name("lint-imports")
    told = subprocess.run([program, "tests/floors.ini", "--no-cache"], cwd=root, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


def test_a_module_for_each_notebook(root):
    said = {}
    for path in notebooks(root):
        found = re.search(r"^#\|\s*default_exp (\S+)", "\n".join(map(source, cells(path)[:1])), re.M)
        if found:
            said[found[1].replace(".", "/") + ".py"] = path
    package = root / "digit_recognizer"
    made = {p.relative_to(package).as_posix() for p in package.rglob("*.py") if not p.name.startswith("_")}
    assert made == set(said)
    for module, path in said.items():
        assert re.sub(r"^\d+_", "", path.relative_to(root / "nbs").as_posix()) == module.replace(".py", ".ipynb"), path


def test_definitions_are_short(root):
    lengths = [len(lines) for path in notebooks(root) for cell in export_cells(path) if (lines := definition_lines(cell))]
    assert median(lengths) <= 11
    assert sum(n <= 15 for n in lengths) >= 0.75 * len(lengths)


def test_lines_fit(root):
    wide = [f"{path.name}: {line[:80]}" for path in notebooks(root) for cell in export_cells(path) for line in cell.splitlines() if len(line) > 110]
    assert not wide, wide


def test_one_definition_a_cell(root):
    many = []
    for path in notebooks(root):
        for cell in export_cells(path):
            names = [n.name for n in ast.parse(cell).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
            if len(names) > 1:
                many.append(f"{path.name}: {', '.join(names)}")
    assert not many, many


def test_the_stages_are_short(root):
    lines = {name: len((root / f"digit_recognizer/{name}.py").read_text().splitlines()) for name in STAGES}
    assert sum(lines.values()) <= 1000, lines


def test_a_digit_is_soon_on_the_screen(root):
    page = cells(root / "nbs/00_data.ipynb")[:10]
    shown = [data for c in page if c["cell_type"] == "code" for o in c["outputs"] for data in [o.get("data", {})]]
    assert any("image" in str(d.get("application/vnd.plotly.v1+json", {}).get("data", "")) for d in shown), "no picture in the first ten cells of 00_data"


def test_notebooks_are_small(root):
    assert not [p.name for p in notebooks(root) if p.stat().st_size > 300_000]


def test_every_saved_figure_has_a_stand_in(root):
    bare = []
    for path in notebooks(root):
        for cell in cells(path):
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if "application/vnd.plotly.v1+json" in data and not {"image/svg+xml", "text/html"} & data.keys():
                    bare.append(f"{path.name}: {source(cell)[:60]}")
    assert not bare, bare


@pytest.mark.parametrize("module", WITHOUT_TENSORFLOW)
def test_no_tensorflow_is_imported(module):
    code = f"import sys, digit_recognizer.{module}; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.returncode == 0, (told.returncode, told.stderr)


def test_help_tells_what_the_docments_say(root):
    code = """import importlib, json, pathlib, sys
from digit_recognizer.core.docments import read_docments
package, silent = pathlib.Path('digit_recognizer'), []
for path in sorted(package.rglob('*.py')):
    if path.name.startswith('_') or path.name in ('cli.py',): continue
    name = '.'.join(path.with_suffix('').parts)
    module = importlib.import_module(name)
    for public in module.__all__:
        section = read_docments(path.read_text(encoding='utf-8')).get(public)
        if section and section not in (getattr(module, public).__doc__ or ''): silent.append(f'{name}.{public}')
print(json.dumps(silent))"""
    told = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout.splitlines()[-1]) == []


def test_the_package_offers_its_names_lazily(root):
    import digit_recognizer

    stub = ast.parse((root / "digit_recognizer/__init__.pyi").read_text(encoding="utf-8"))
    assert {n.names[0].name: n.module for n in stub.body if isinstance(n, ast.ImportFrom)} == digit_recognizer._MODULES
    code = "import sys, digit_recognizer; sys.exit(len({'numpy', 'pandas', 'sklearn', 'tensorflow', 'keras'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    for name in digit_recognizer.__all__:
        assert getattr(digit_recognizer, name).__module__ == f"digit_recognizer.{digit_recognizer._MODULES[name]}"
    assert {*digit_recognizer.__all__, "__version__"} <= set(dir(digit_recognizer))
    with pytest.raises(AttributeError, match="has no attribute 'gone'"):
        digit_recognizer.gone
