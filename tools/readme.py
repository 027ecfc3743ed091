"""Write README.md from nbs/index.ipynb:

    python tools/readme.py
    python tools/readme.py FILE  # to another place
"""
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
REMOVED = {"#| hide": "cell", "#| echo: false": "input"}  # a cell's first line -> what of it the README lacks
NOTE = "<!-- made from nbs/index.ipynb by tools/readme.py: edit the notebook -->"


def tag_cells(nb):
    "Mark the cells and inputs that are not shown."
    for cell in nb.cells:
        directive = cell.source.split("\n", 1)[0]
        if directive in REMOVED:
            cell.metadata["tags"] = [f"remove-{REMOVED[directive]}"]


def readme():
    "The text of README.md; its links are relative to the top of the project."
    nb = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    nb.metadata["language_info"] = {"name": "python"}
    tag_cells(nb)
    tags = {"enabled": True, "remove_cell_tags": ["remove-cell"], "remove_input_tags": ["remove-input"]}
    text, _ = MarkdownExporter(config=Config({"TagRemovePreprocessor": tags})).from_notebook_node(nb)
    text = re.sub(r"\]\((?!https?:|#|\.\./)", "](nbs/", text).replace("](../", "](")
    return f"{NOTE}\n\n" + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    out = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "README.md"
    out.write_text(readme(), encoding="utf-8", newline="\n")
