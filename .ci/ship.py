"""Put a run's model into the package, in place of the one that is there: python .ci/ship.py RUN; see CONTRIBUTING.md."""
import shutil
import sys
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
reader.mkdir(exist_ok=True)
slim.save(reader / "model.keras")
shutil.copyfile(run.folder / "run.json", reader / "run.json")
x = load_embedded().x[:500]
np.testing.assert_array_equal(predict(load_model(reader / "model.keras"), x), predict(run.model, x))
size = sum(p.stat().st_size for p in reader.iterdir())
if size > LIMIT:
    sys.exit(f"{reader}: {size:,} bytes, more than the {LIMIT:,} that the package allows itself")
print(f"{reader}: {size:,} bytes; {load_run(reader)}")
