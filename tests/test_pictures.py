"""The pictures of the README: how they are compared with those of the committed results, and where they are shown."""
import io
import re
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import outputs  # noqa: E402
import pictures  # noqa: E402


def drawn(*levels, words=""):
    "A picture with a PNG of each grey level."
    def png(level):
        file = io.BytesIO()
        Image.new("L", (4, 4), level).save(file, "PNG")
        return file.getvalue()

    return pictures.card(99, 99, words, *(pictures.image(png(level), 0, 0, 4, 4) for level in levels))


def test_each_image_may_differ_by_a_grey_level_or_two():
    def alike(a, b): return outputs.same(pictures.split(a), pictures.split(b))

    assert len(pictures.split(drawn(50, 100))["pngs"]) == 2
    assert alike(drawn(50, 100), drawn(50, 102)) and not alike(drawn(50, 100), drawn(50, 110))
    assert not alike(drawn(50, words="a"), drawn(50, words="b")) and not alike(drawn(50), drawn(50, 50))


def test_every_picture_is_shown_on_both_home_pages():
    for name in ("README.md", "README.zh.md"):
        shown = re.findall(r"\(nbs/pictures/(\w+)\.svg\)", (ROOT / name).read_text(encoding="utf-8"))
        assert sorted(shown) == sorted(pictures.PICTURES)
