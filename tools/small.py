"""Write requirements-small.txt from settings.ini:

    python tools/small.py
"""
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTE = """\
# Made from settings.ini by tools/small.py: edit there. What reading, predicting and checking need, without TensorFlow.
# pip install -r requirements-small.txt && pip install --no-deps .
"""


def small():
    "The text of requirements-small.txt."
    ini = ConfigParser(delimiters=["="], interpolation=None)
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    return NOTE + "\n".join((ini["DEFAULT"]["requirements"] + ini["DEFAULT"]["litert_requirements"]).strip().splitlines()) + "\n"


if __name__ == "__main__":
    (ROOT / "requirements-small.txt").write_text(small(), encoding="utf-8", newline="\n")
