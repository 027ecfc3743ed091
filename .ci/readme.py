"""Write README.md from nbs/index.ipynb; see CONTRIBUTING.md."""
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

REMOVED = {"#| hide": "cell", "#| echo: false": "input"}

nb = nbformat.read("nbs/index.ipynb", as_version=4)
nb.metadata["language_info"] = {"name": "python"}
for cell in nb.cells:
    directive = cell.source.split("\n", 1)[0]
    if directive in REMOVED:
        cell.metadata["tags"] = [f"remove-{REMOVED[directive]}"]
config = Config({"TagRemovePreprocessor": {"enabled": True, "remove_cell_tags": ["remove-cell"], "remove_input_tags": ["remove-input"]}})
text, _ = MarkdownExporter(config=config).from_notebook_node(nb)
text = re.sub(r"\]\((?!https?:|#|\.\./)", "](nbs/", text).replace("](../", "](")
text = "<!-- made from nbs/index.ipynb by .ci/readme.py: edit the notebook -->\n\n" + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
Path("README.md").write_text(text, encoding="utf-8", newline="\n")
