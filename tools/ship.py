"""Replace the pretrained model of the package by a run's model:

    python tools/ship.py RUN
"""
import json
import sys
import tempfile
from pathlib import Path

from digit_recognizer.core.files import sha256
from digit_recognizer.core.network import network_text
from digit_recognizer.runs.folder import load_run
from digit_recognizer.runs.network import fuse_batch_norms, operations
from digit_recognizer.runs.records import record_checksum

READER = Path(__file__).resolve().parent.parent / "digit_recognizer" / "reader"
MAX_BYTES = 1_300_000


def copy_run(run, folder):
    "Write a run's model, for Keras and for numpy, and its run.json, with the checksums of these two alone."
    (folder / "model.keras").write_bytes((run.folder / "model.keras").read_bytes())
    (folder / "network.json").write_text(network_text(fuse_batch_norms(operations(run.model))), encoding="ascii")
    info = {key: value for key, value in run.info.items() if key not in ("files", "checksum")}
    info["files"] = {name: sha256(folder / name) for name in ("model.keras", "network.json")}
    info["checksum"] = record_checksum(info)
    (folder / "run.json").write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")


def ship(run):
    "Replace the pretrained model, unless the new one is too large; returns its size in bytes."
    with tempfile.TemporaryDirectory() as tmp:
        copy_run(run, Path(tmp))
        files = sorted(Path(tmp).iterdir())
        size = sum(file.stat().st_size for file in files)
        if size > MAX_BYTES:
            sys.exit(f"{run.folder}: {size:,} bytes, expected at most {MAX_BYTES:,}; train a smaller model")
        READER.mkdir(exist_ok=True)
        for file in files:
            (READER / file.name).write_bytes(file.read_bytes())
    return size


if __name__ == "__main__":
    print(f"{ship(load_run(sys.argv[1])):,} bytes in {READER}: {load_run(READER)}")
