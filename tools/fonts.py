"""Render digits in fonts of Debian's packages and normalise them, for nbs/images/normalise.ipynb:

    python tools/fonts.py FILE.npz
"""
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from digit_recognizer.core.files import InputError
from digit_recognizer.images.normalise import NORMALISER, normalise

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


def font_files(family):
    "The files of a font family; stops where its package is not installed."
    pattern, package = FONTS[family]
    files = sorted(Path("/usr/share/fonts/truetype").glob(pattern))
    return files or sys.exit(f"{family}: not installed; apt-get install {package}")


def render(file, digit):
    "A black digit on a white page, normalised; None where it is blank or refused."
    page = Image.new("L", (400, 400), 255)
    ImageDraw.Draw(page).text((200, 200), str(digit), 0, ImageFont.truetype(str(file), 150), anchor="mm")
    try:
        return normalise(page)
    except InputError as e:
        print(file, digit, e)
        return None


def write_digits(path):
    "Write all digits of all fonts to a new file; refused ones are blank."
    rows = [(family, d, render(file, d)) for family in FONTS for file in font_files(family) for d in range(10)]
    families, labels, images = zip(*rows)
    blank = np.zeros((28, 28), np.uint8)
    with open(path, "xb") as out:
        np.savez_compressed(out, family=np.array(families), y=np.array(labels, np.uint8), normaliser=NORMALISER,
                            refused=np.array([i is None for i in images]),
                            x=np.stack([blank if i is None else i for i in images]))


if __name__ == "__main__":
    write_digits(sys.argv[1])
