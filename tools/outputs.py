"""Run every notebook in a kernel of its own, and save or check what it shows:

    python tools/outputs.py refresh         # save all outputs
    python tools/outputs.py check           # compare with the saved ones
    python tools/outputs.py check nbs/core  # only those of a folder, or of one notebook
"""
import argparse
import base64
import json
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat
from clean import clean, drop_live_outputs
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
PNG = "data:image/png;base64,"
TIMEOUT = 900  # seconds, of a cell


def notebooks(place=ROOT / "nbs"):
    "The notebooks in a folder and its sub-folders, or one notebook."
    found = [place] if place.is_file() else sorted(place.rglob("*.ipynb"))
    return [p for p in found if ".ipynb_checkpoints" not in p.parts]


def executed(path, folder=None):
    """A notebook with fresh outputs, run in its own folder or in another one; raises `CellExecutionError`.

    What a cell prints is one output, in however many pieces a busy machine sends it.
    """
    nb = nbformat.read(path, as_version=4)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(nb, timeout=TIMEOUT, coalesce_streams=True, resources={"metadata": {"path": str(folder or path.parent)}}).execute()
    drop_live_outputs(nb)
    return nb


def pixels(source):
    "The grey levels of a PNG in a figure."
    import tensorflow as tf

    return tf.io.decode_png(base64.b64decode(source[len(PNG):])).numpy().astype(int)


def same(a, b):
    "Equal, except for a grey level or two in pictures, which processors round differently."
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, str) and isinstance(b, str) and a.startswith(PNG) and b.startswith(PNG) and a != b:
        a, b = pixels(a), pixels(b)
        return a.shape == b.shape and abs(a - b).max() <= 2
    return a == b


def picture(text):
    "The PNG in a stand-in; the SVG itself where it holds none."
    png = re.search(r'base64,([^"]+)"', text)
    return PNG + png[1] if png else text


def shown(cell):
    "What a reader sees of a cell's outputs."
    def data(output):
        forms = output.get("data") or {"text": output.get("text")}
        return {k: picture(v) if k == "image/svg+xml" else v for k, v in forms.items()}

    return [json.loads(json.dumps(data(o))) for o in cell.get("outputs", [])]


def stale_cells(path):
    "The cells of a notebook whose saved outputs are not those of their code."
    saved = nbformat.read(path, as_version=4)
    return [old for old, new in zip(saved.cells, executed(path).cells) if not same(shown(old), shown(new))]


def check(path):
    "What is wrong with a notebook, in lines; empty where nothing is."
    try:
        return [f"the saved output differs from the output of:\n{cell.source}" for cell in stale_cells(path)]
    except CellExecutionError as e:
        return [str(e)]


def refresh(path):
    "Save fresh outputs; what went wrong, in lines."
    try:
        nbformat.write(executed(path), path)
        return []
    except CellExecutionError as e:
        return [str(e)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["refresh", "check"])
    parser.add_argument("place", nargs="?", type=Path, default=ROOT / "nbs", help="a notebook or a folder of them")
    args = parser.parse_args()
    paths, failed = notebooks(args.place.resolve()), 0
    with ProcessPoolExecutor(2) as pool:  # much of a notebook is the start of its kernel, which uses one core
        for path, wrong in zip(paths, pool.map({"refresh": refresh, "check": check}[args.step], paths)):
            failed += bool(wrong)
            print(f"{path.relative_to(ROOT)}: {'FAILED' if wrong else 'done'}", *wrong, sep="\n  ", flush=True)
    if args.step == "refresh":
        clean()
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
