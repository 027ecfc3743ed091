"""Write the pretrained reader's probabilities of the digits that it was not trained on: those held out, then those of its validation.

    python tools/unseen.py

`read --wrong-at-most` fits its threshold on them. Probabilities are kept as logarithms in a byte each.
"""
import io

import numpy as np

from digit_recognizer.core.files import sha256
from digit_recognizer.core.predict import predict
from digit_recognizer.data import load_embedded
from digit_recognizer.images.numbers import pack_unseen
from digit_recognizer.preprocess import split
from digit_recognizer.runs.export import small_model
from digit_recognizer.runs.folder import pretrained_run


def main():
    "Predict the held-out digits and write the file beside the model."
    run, digits = pretrained_run(), load_embedded()
    recipe = run.info["recipe"]
    rows = split(digits.y, recipe["val"], recipe["seed"], recipe["stratify"])[1]
    x, y = np.concatenate([digits.x_test, digits.x[rows]]), np.concatenate([digits.y_test, digits.y[rows]])
    proba = predict(small_model(run), x, check=False)
    content = io.BytesIO()
    np.savez_compressed(content, y=y, packed=pack_unseen(proba),
                        network=np.array(sha256(run.folder / "network.json")))
    (run.folder / "unseen.npz").write_bytes(content.getvalue())
    return len(content.getvalue())


if __name__ == "__main__":
    print(f"{main():,} bytes")
