"""Clean the notebooks as nbdev does, join the pictures of figures that nbdev_update or nbdev_merge split into lines, and
drop the outputs of cells that begin with `#| live`:

    python tools/clean.py
"""
import json
import re
import subprocess
import sys
from pathlib import Path

from digit_recognizer.core.pages import join_sources
from digit_recognizer.docs import notebook_paths

ROOT = Path(__file__).resolve().parent.parent


def drop_live_outputs(notebook):
    "Drop what cells with `#| live` show while they train, which differs between processors; the number of outputs."
    cells = [c for c in notebook["cells"] if c.get("outputs") and re.search(r"^#\|\s*live$", "".join(c["source"]), re.M)]
    dropped = sum(len(c["outputs"]) for c in cells)
    for cell in cells:
        cell["outputs"] = []
    return dropped


def clean(root=ROOT):
    "Clean the notebooks of a repository."
    subprocess.run([sys.executable, "-c", "from nbdev.clean import nbdev_clean; nbdev_clean()"], cwd=root, check=True)
    for path in (root / "nbs" / name for name in notebook_paths(root / "nbs")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        if join_sources(notebook) + drop_live_outputs(notebook):
            text = json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
            path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    clean()
