"""Put a run's model into the package, in place of the one that is there: python .ci/ship.py RUN; see CONTRIBUTING.md."""
import json
import sys
import tempfile
from pathlib import Path

from digit_recognizer.runs import load_run

LIMIT = 700_000  # bytes

run, reader = load_run(sys.argv[1]), Path("digit_recognizer/reader")
info = {key: value for key, value in run.info.items() if key != "files"}  # checksums of files that are not shipped
with tempfile.TemporaryDirectory() as tmp:
    part = Path(tmp)
    (part / "model.keras").write_bytes((run.folder / "model.keras").read_bytes())
    (part / "run.json").write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")
    size = sum(p.stat().st_size for p in part.iterdir())
    if size > LIMIT:
        sys.exit(f"not shipped: {size:,} bytes, more than the {LIMIT:,} that the package allows itself")
    reader.mkdir(exist_ok=True)
    for file in part.iterdir():
        (reader / file.name).write_bytes(file.read_bytes())
print(f"{reader}: {size:,} bytes; {load_run(reader)}")
