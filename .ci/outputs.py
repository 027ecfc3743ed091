"""Run every notebook in a fresh kernel and compare what it shows with what is committed; see CONTRIBUTING.md."""
import base64
import json
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

PNG = "data:image/png;base64,"


def pixels(source):
    import tensorflow as tf

    return tf.io.decode_png(base64.b64decode(source[len(PNG):])).numpy().astype(int)


def same(a, b):
    "Equal, but for a grey level or two in pictures, which processors round differently."
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, str) and isinstance(b, str) and a.startswith(PNG) and b.startswith(PNG) and a != b:
        a, b = pixels(a), pixels(b)
        return a.shape == b.shape and abs(a - b).max() <= 2
    return a == b


def shown(cell):
    "What a reader sees of a cell's outputs."
    def picture(text):
        png = re.search(r'base64,([^"]+)"', text)
        return PNG + png[1] if png else text

    def parts(output):
        return {k: picture(v) if k == "image/svg+xml" else v for k, v in (output.get("data") or {"text": output.get("text")}).items()}

    return [json.loads(json.dumps(parts(o))) for o in cell.get("outputs", [])]


def stale(path):
    "The cells of a notebook whose outputs are not those of their code."
    committed = nbformat.read(path, as_version=4)
    fresh = nbformat.from_dict(json.loads(json.dumps(committed)))
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(fresh, timeout=900, resources={"metadata": {"path": str(path.parent)}}).execute()
    return [old for old, new in zip(committed.cells, fresh.cells) if not same(shown(old), shown(new))]


def verdict(path):
    "What is wrong with a notebook, in lines; empty if nothing is."
    try:
        return [f"output differs from the committed one below:\n{c.source}" for c in stale(path)]
    except CellExecutionError as e:
        return [str(e)]


def main():
    paths = sorted(Path("nbs").glob("*.ipynb"))
    failed = 0
    with ProcessPoolExecutor(2) as both:  # much of a notebook is the start of its kernel, which uses one core
        for path, wrong in zip(paths, both.map(verdict, paths)):
            failed += bool(wrong)
            print(f"{path}: {'as committed' if not wrong else 'FAILED'}", *wrong, sep="\n  ", flush=True)
    print(f"{len(paths) - failed} passed, {failed} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
