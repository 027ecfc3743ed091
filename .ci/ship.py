"""Put a run's model into the package, in place of the one that is there: python .ci/ship.py RUN; see CONTRIBUTING.md."""
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from digit_recognizer.data import load_embedded
from digit_recognizer.preprocess import keras
from digit_recognizer.runs import load_model, load_run
from digit_recognizer.submit import predict

LIMIT = 700_000  # bytes

run, reader = load_run(sys.argv[1]), Path("digit_recognizer/reader")
slim = keras.models.clone_model(run.model)  # without the optimizer's state
slim.set_weights(run.model.get_weights())
info = {key: value for key, value in run.info.items() if key != "files"}  # checksums of files that are not shipped
with tempfile.TemporaryDirectory() as tmp:
    part, x = Path(tmp), load_embedded().x[:500]
    slim.save(part / "model.keras")
    (part / "run.json").write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")
    np.testing.assert_array_equal(predict(load_model(part / "model.keras"), x), predict(run.model, x))
    size = sum(p.stat().st_size for p in part.iterdir())
    if size > LIMIT:
        sys.exit(f"not shipped: {size:,} bytes, more than the {LIMIT:,} that the package allows itself")
    reader.mkdir(exist_ok=True)
    for file in part.iterdir():
        (reader / file.name).write_bytes(file.read_bytes())
print(f"{reader}: {size:,} bytes; {load_run(reader)}")
