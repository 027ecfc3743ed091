"""README.zh.md keeps step with README.md: headings, commands, numbers, links."""
import re

FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
INDENTED = re.compile(r"(?:^    .*\n)+", re.M)


def facts(text):
    "What a translation must not change, by kind."
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    blocks = [re.sub(r"\s*#.*", "", block) for block in FENCE.findall(text)] + INDENTED.findall(text)
    prose = INDENTED.sub("", FENCE.sub("", text))
    words = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "", prose))
    return {"headings, by level": [len(h) for h in re.findall(r"^(#+) ", prose, re.M)], "blocks of code": blocks,
            "rows of tables": len(re.findall(r"^\|", prose, re.M)),
            "words in code": set(re.findall(r"`[^`]*`", prose)), "numbers": set(re.findall(r"\d[\d.,]*\d|\d", words)),
            "links": set(re.findall(r"\]\(([^)]*)\)", prose)) - {"README.md", "README.zh.md"}}


def test_a_changed_number_is_found():
    original, translation = facts("# a\n\n```sh\nrun # it\n```\n5 of `b`\n"), facts("# c\n\n```sh\nrun # doch\n```\n6 `b`\n")
    assert [kind for kind in original if original[kind] != translation[kind]] == ["numbers"]


def test_the_translation_keeps_step(root):
    original, translation = (facts((root / name).read_text(encoding="utf-8")) for name in ("README.md", "README.zh.md"))
    for kind in original:
        assert translation[kind] == original[kind], kind
