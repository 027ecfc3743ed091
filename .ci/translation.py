"""Whether README.zh.md keeps step with README.md: headings, commands, numbers, links; see CONTRIBUTING.md."""
import re
import sys
from pathlib import Path

FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
INDENTED = re.compile(r"(?:^    .*\n)+", re.M)


def facts(text):
    "What a translation must not change, by kind; each a list or a set."
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    blocks = [re.sub(r"\s*#.*", "", block) for block in FENCE.findall(text)] + INDENTED.findall(text)
    prose = INDENTED.sub("", FENCE.sub("", text))
    said = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "", prose))
    return {"headings, by level": [len(h) for h in re.findall(r"^(#+) ", prose, re.M)], "blocks of code": blocks,
            "rows of tables": len(re.findall(r"^\|", prose, re.M)),
            "words in code": set(re.findall(r"`[^`]*`", prose)), "numbers": set(re.findall(r"\d[\d.,]*\d|\d", said)),
            "links": set(re.findall(r"\]\(([^)]*)\)", prose)) - {"README.md", "README.zh.md"}}


def differences(original, translation):
    "What one has and the other has not."
    ours, theirs = facts(original), facts(translation)
    for kind in ours:
        if ours[kind] != theirs[kind]:
            sets = isinstance(ours[kind], set)
            yield kind, *((sorted(ours[kind] - theirs[kind]), sorted(theirs[kind] - ours[kind])) if sets else (ours[kind], theirs[kind]))


if __name__ == "__main__":
    assert [kind for kind, *_ in differences("# a\n\n```sh\nrun # it\n```\n5 of `b`\n", "# c\n\n```sh\nrun # doch\n```\n6 `b`\n")] == ["numbers"]
    found = list(differences(*(Path(p).read_text(encoding="utf-8") for p in ("README.md", "README.zh.md"))))
    for kind, original, translation in found:
        print(f"{kind}:\n  README.md     {original}\n  README.zh.md  {translation}")
    print("the translation keeps step" if not found else "README.zh.md is out of step with README.md")
    sys.exit(bool(found))
