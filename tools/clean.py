"""Clean the notebooks as nbdev does, and join the pictures of figures that nbdev_update or nbdev_merge split into lines:

    python tools/clean.py
"""
import json
import subprocess
import sys
from pathlib import Path

from digit_recognizer.core.pages import join_sources
from digit_recognizer.docs import notebook_paths

ROOT = Path(__file__).resolve().parent.parent


def clean(root=ROOT):
    "Clean the notebooks of a repository."
    subprocess.run([sys.executable, "-c", "from nbdev.clean import nbdev_clean; nbdev_clean()"], cwd=root, check=True)
    for path in (root / "nbs" / name for name in notebook_paths(root / "nbs")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        if join_sources(notebook):
            text = json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
            path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    clean()
