"""Plain English: banned phrases, the length of sentences, and one word for one meaning."""
import ast
import io
import re
import tokenize

import pytest

from test_structure import cells, notebooks, source

BANNED = re.compile(
    r"\b(is|are) no (?!longer\b|more\b)[a-z]+|\b(go|goes|going|gone|went) on with\b|\bso many\b[^.]*\bas\b|\bwhoever\b|\bwhatever\b|\bas it is\b(?! \w+ed)"
    r"|\bthat one\b|\bat hand\b|\bcomes? to the same\b", re.I)
TEXTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "nbs/glossary.md")
SCRIPTS = ("benchmarks", "tools", "tests")
SHOWN = ("digit_recognizer/analysis/report.html.jinja", *(f"digit_recognizer/web/assets/{name}" for name in ("page.html", "page.js", "field.js", "layers.js", "occlusion.js", "review.html", "review.js")))
EXEMPT = ("test_english.py", "golden.py")  # this list; names of golden examples, which are committed results
LONGEST = 35  # words of a sentence


def prose(markdown):
    "Markdown without blocks of code, tables, headings and addresses."
    text = re.sub(r"<!--.*?-->|```.*?```|^    .*$|^\|.*$|^#+ .*$|^:::.*$", " . ", markdown, flags=re.S | re.M)
    return re.sub(r"\]\([^)]*\)|[*_>\[\]]", "", text)


def words_in_code(code):
    "Comments and strings of Python code."
    code = re.sub(r"^[%!].*$", "", code, flags=re.M)
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}  # f-strings from Python 3.12 on
    return "\n".join(t.string for t in tokenize.generate_tokens(io.StringIO(code).readline) if t.type in kinds)


def texts(root):
    "Every text of the project that people read: (where, prose)."
    for path in notebooks(root):
        for cell in cells(path):
            yield path.relative_to(root).as_posix(), prose(source(cell)) if cell["cell_type"] == "markdown" else words_in_code(source(cell)), cell["cell_type"]
    for name in TEXTS:
        yield name, prose((root / name).read_text(encoding="utf-8")), "markdown"
    for path in (p for folder in SCRIPTS for p in sorted((root / folder).glob("*.py")) if p.name not in EXEMPT):
        yield path.relative_to(root).as_posix(), words_in_code(path.read_text(encoding="utf-8")), "code"
    for name in SHOWN:
        yield name, (root / name).read_text(encoding="utf-8"), "code"


def test_no_banned_phrase(root):
    found = [f"{where}: {m[0]!r} in {text[max(0, m.start() - 30) : m.end() + 30]!r}" for where, text, _ in texts(root) for m in BANNED.finditer(text)]
    assert not found, "\n".join(found)


def test_sentences_are_short(root):
    long = []
    for where, text, kind in texts(root):
        if kind == "markdown":
            for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n|\n(?=\s*[-\d])", text):
                if len(sentence.split()) > LONGEST:
                    long.append(f"{where}: {len(sentence.split())} words: {' '.join(sentence.split())[:100]}")
    assert not long, "\n".join(long)


DISCOURAGED = {  # a word of the old vocabulary -> the term that the glossary has for it
    "damage": "corruption", "each": "executor", "shipped": "pretrained model", "one_by_one": "executor",
    "look_around": "view", "no_digit": "out of distribution", "alone": "single process", "opinion": "view or member", "gone": "resume"}


def public_names(root):
    "Every public function, class, method and parameter of the package: (module, name)."
    for path in sorted((root / "digit_recognizer").rglob("*.py")):
        if path.name.startswith("_"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) or isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield path.name, node.name
                arguments = node.args if isinstance(node, ast.FunctionDef) else None
                for a in (arguments.args + arguments.kwonlyargs if arguments else []):
                    yield path.name, a.arg


def test_the_glossary_defines_each_term_once(root):
    terms = re.findall(r"^\| ([^|]+?) \| [^|]+ \|$", (root / "nbs/glossary.md").read_text(encoding="utf-8"), re.M)[1:]
    assert len(terms) > 30 and terms == sorted(set(terms)), terms


@pytest.mark.parametrize("word, term", DISCOURAGED.items())
def test_names_use_the_terms_of_the_glossary(root, word, term):
    found = [f"{module}: {name}" for module, name in public_names(root) if re.search(rf"(^|_){word}s?(_|$)", name.lower())]
    assert not found, f"use {term}: {found}"
