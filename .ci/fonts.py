"""Render digits in fonts of Debian's packages and normalise them, for 17_drawings: python .ci/fonts.py FILE.npz; see CONTRIBUTING.md."""
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from digit_recognizer.data import InputError
from digit_recognizer.drawings import NORMALISER, normalise

FONTS = {  # family -> its files in /usr/share/fonts/truetype, and the package that brings them
    "DejaVu Sans": ("dejavu/DejaVuSans*.ttf", "fonts-dejavu-core"),
    "DejaVu Serif": ("dejavu/DejaVuSerif*.ttf", "fonts-dejavu-core"),
    "Liberation Sans": ("liberation/LiberationSans-*.ttf", "fonts-liberation"),
    "Liberation Serif": ("liberation/LiberationSerif-*.ttf", "fonts-liberation"),
    "FreeMono": ("freefont/FreeMono*.ttf", "fonts-freefont-ttf"),
    "FreeSerif": ("freefont/FreeSerif*.ttf", "fonts-freefont-ttf"),
    "Lato": ("lato/Lato-*.ttf", "fonts-lato"),
    "Breip (handwriting)": ("breip/Breip.ttf", "fonts-breip"),
    "Ecolier (school writing)": ("ecolier-court/Ecolier-court.ttf", "fonts-ecolier-court"),
    "Humor Sans (handwriting)": ("humor-sans/Humor-Sans.ttf", "fonts-humor-sans"),
    "Tomson Talks (handwriting)": ("tomsontalks/TomsonTalks.ttf", "fonts-tomsontalks"),
}


def render(file, digit):
    "A black digit on a white page; one that is blank or refused is None."
    page = Image.new("L", (400, 400), 255)
    ImageDraw.Draw(page).text((200, 200), str(digit), 0, ImageFont.truetype(str(file), 150), anchor="mm")
    try:
        return normalise(page)
    except InputError as e:
        print(file, digit, e)
        return None


rows = []
for family, (pattern, package) in FONTS.items():
    files = sorted(Path("/usr/share/fonts/truetype").glob(pattern))
    if not files:
        sys.exit(f"{family}: not installed; apt-get install {package}")
    rows += [(family, d, render(file, d)) for file in files for d in range(10)]
families, labels, images = zip(*rows)
with open(sys.argv[1], "xb") as out:
    np.savez_compressed(out, family=np.array(families), y=np.array(labels, np.uint8), normaliser=NORMALISER,
                        refused=np.array([i is None for i in images]),
                        x=np.stack([np.zeros((28, 28), np.uint8) if i is None else i for i in images]))
