"""Check what Quarto would read, without Quarto: the keys of _quarto.yml, its sidebar, and the filter that it runs on each
notebook. Run it after the site was built; see CONTRIBUTING.md."""
import json
import shlex
import subprocess
import sys
from pathlib import Path

import yaml
from smalldocs.config import KNOWN, check_keys
from smalldocs.quarto_keys import QUARTO_PAGE_OPTIONS

FILTERED = ["00_data.ipynb", "04_evaluate.ipynb", "21_docs.ipynb"]


def unknown_keys(config):
    "Keys that Quarto's schema does not have: those of pages as smalldocs keeps them, the others as it reads them."
    website = {k: v for k, v in KNOWN["website"].items() if k != "llms-txt"}  # newer than many an installed Quarto
    known = {"project": KNOWN["project"], "website": website, "execute": dict.fromkeys(QUARTO_PAGE_OPTIONS | KNOWN["execute"].keys()),
             "format": {"html": dict.fromkeys(QUARTO_PAGE_OPTIONS)}}
    return check_keys(config, known, "")


def entries(contents):
    "Every page that a sidebar names."
    for entry in contents:
        if isinstance(entry, str):
            yield entry
        else:
            yield from filter(None, [entry.get("href")])
            yield from entries(entry.get("contents", []))


def not_in_sidebar(config):
    "Pages that the sidebar forgot, or that do not exist."
    named = list(entries(config["website"]["sidebar"]["contents"]))
    pages = {f"nbs/{p.name}" for p in Path("nbs").glob("*.ipynb")} | {p for p in config["project"]["render"] if p.endswith(".md")}
    return [f"sidebar: {p}" for p in sorted(pages.symmetric_difference(named)) or [p for p in named if named.count(p) > 1]]


def page(text):
    "What is shown of a processed notebook."
    def flat(value):
        return "".join(value) if isinstance(value, list) else value

    return [(c["cell_type"], flat(c["source"]), [{k: flat(v) for k, v in (o.get("data") or {"text": o.get("text")}).items()} for o in c.get("outputs", [])])
            for c in json.loads(text)["cells"]]


def filter_differs(config):
    "Notebooks of which Quarto's filter makes another page than the build without Quarto."
    (command,) = config["format"]["html"]["ipynb-filters"]
    for name in FILTERED:
        made = subprocess.run(shlex.split(command), input=Path("nbs", name).read_bytes(), cwd="nbs", capture_output=True)
        if made.returncode:
            yield f"filter: {name}: {made.stderr.decode()[-1000:]}"
        elif page(made.stdout) != page(Path("_proc/nbs", name).read_text(encoding="utf-8")):
            yield f"filter: {name} is not the page that was built"


def main():
    config = yaml.safe_load(Path("_quarto.yml").read_text(encoding="utf-8"))
    assert unknown_keys({"website": {"serch": 1, "llms-txt": True}, "format": {"html": {"toc": True, "tok": 1}}, "execute": {"enabled": False}}) == [
        "website.serch", "website.llms-txt", "format.html.tok"]
    wrong = [f"no key of Quarto: {k}" for k in unknown_keys(config)] + not_in_sidebar(config) + list(filter_differs(config))
    print("_quarto.yml and the filter", *(wrong or ["fine"]), sep="\n  ")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
