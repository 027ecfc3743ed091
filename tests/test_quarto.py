"""What Quarto would read, without Quarto: the keys of _quarto.yml, its sidebar, and the filter that it runs on each notebook."""
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from browsing import built_site
from smalldocs.config import KNOWN, check_keys
from smalldocs.quarto_keys import QUARTO_PAGE_OPTIONS

from digit_recognizer.docs import notebook_paths, sidebar_pages

FILTERED = ["00_data.ipynb", "core/files.ipynb", "docs.ipynb"]


@pytest.fixture(scope="module")
def config(root):
    return yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))


def unknown_keys(config):
    "Keys that Quarto's schema does not have: those of pages as smalldocs keeps them, the others as it reads them."
    website = {k: v for k, v in KNOWN["website"].items() if k != "llms-txt"}  # newer than many an installed Quarto
    known = {"project": KNOWN["project"], "website": website, "execute": dict.fromkeys(QUARTO_PAGE_OPTIONS | KNOWN["execute"].keys()),
             "format": {"html": dict.fromkeys(QUARTO_PAGE_OPTIONS)}}
    return check_keys(config, known, "")


def test_keys(config):
    wrong = {"website": {"serch": 1, "llms-txt": True}, "format": {"html": {"toc": True, "tok": 1}}, "execute": {"enabled": False}}
    assert unknown_keys(wrong) == ["website.serch", "website.llms-txt", "format.html.tok"]
    assert not unknown_keys(config)


def test_sidebar_names_every_page_once(root, config):
    listed = [page for _, page in sidebar_pages(root)]
    notebooks = [f"nbs/{name}" for name in notebook_paths(root / "nbs")]
    assert sorted(listed) == sorted(notebooks + [p for p in config["project"]["render"] if p.endswith(".md")])


def page(text):
    "What is shown of a processed notebook."
    def flat(value):
        return "".join(value) if isinstance(value, list) else value

    def data(output):
        return {k: flat(v) for k, v in (output.get("data") or {"text": output.get("text")}).items()}

    return [(c["cell_type"], flat(c["source"]), [data(o) for o in c.get("outputs", [])]) for c in json.loads(text)["cells"]]


@pytest.mark.slow
@pytest.mark.xdist_group("site")
@pytest.mark.parametrize("name", FILTERED)
def test_filter_makes_the_page_that_was_built(name, config, root):
    built_site(root)
    (command,) = config["format"]["html"]["ipynb-filters"]
    notebook = root / "nbs" / name
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # of this environment's python
    made = subprocess.run(shlex.split(command), input=notebook.read_bytes(), cwd=notebook.parent, capture_output=True,
                          env={**os.environ, "PATH": path})
    assert made.returncode == 0, made.stderr.decode()[-1000:]
    assert page(made.stdout) == page((root / "_proc" / "nbs" / name).read_text(encoding="utf-8"))
