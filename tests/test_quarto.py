"""Quarto without Quarto: what it reads, the steps it runs for nbdev_docs, and its pages, in the dark and on a phone."""
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from browsing import PHONE, built_site, chromium, screenshot_folder
from repository import committed_copy, status
from smalldocs.config import KNOWN, check_keys
from smalldocs.quarto_keys import QUARTO_PAGE_OPTIONS

from digit_recognizer.docs import notebook_paths, sidebar_pages

FILTERED = ["00_data.ipynb", "core/files.ipynb", "docs.ipynb"]


@pytest.fixture(scope="module")
def config(root):
    return yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))


def unknown_keys(config):
    "Keys that Quarto's schema does not have: those of pages as smalldocs keeps them, the others as it reads them."
    website = {k: v for k, v in KNOWN["website"].items() if k != "llms-txt"}  # newer than many an installed Quarto
    known = {"project": KNOWN["project"], "website": website, "execute": dict.fromkeys(QUARTO_PAGE_OPTIONS | KNOWN["execute"].keys()),
             "format": {"html": dict.fromkeys(QUARTO_PAGE_OPTIONS)}}
    return check_keys(config, known, "")


def test_keys(config):
    wrong = {"website": {"serch": 1, "llms-txt": True}, "format": {"html": {"toc": True, "tok": 1}}, "execute": {"enabled": False}}
    assert unknown_keys(wrong) == ["website.serch", "website.llms-txt", "format.html.tok"]
    assert not unknown_keys(config)


def test_sidebar_names_every_page_once(root, config):
    listed = [page for _, page in sidebar_pages(root)]
    notebooks = [f"nbs/{name}" for name in notebook_paths(root / "nbs")]
    assert sorted(listed) == sorted(notebooks + [p for p in config["project"]["render"] if p.endswith(".md")])


def page(text):
    "What is shown of a processed notebook."
    def flat(value):
        return "".join(value) if isinstance(value, list) else value

    def data(output):
        return {k: flat(v) for k, v in (output.get("data") or {"text": output.get("text")}).items()}

    return [(c["cell_type"], flat(c["source"]), [data(o) for o in c.get("outputs", [])]) for c in json.loads(text)["cells"]]


@pytest.mark.slow
@pytest.mark.xdist_group("site")
@pytest.mark.parametrize("name", FILTERED)
def test_filter_makes_the_page_that_was_built(name, config, root):
    built_site(root)
    (command,) = config["format"]["html"]["ipynb-filters"]
    notebook = root / "nbs" / name
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # of this environment's python
    made = subprocess.run(shlex.split(command), input=notebook.read_bytes(), cwd=notebook.parent, capture_output=True,
                          env={**os.environ, "PATH": path})
    assert made.returncode == 0, made.stderr.decode()[-1000:]
    assert page(made.stdout) == page((root / "_proc" / "nbs" / name).read_text(encoding="utf-8"))


QUARTO = """#!{python}
# The steps of `quarto render`, as nbdev_docs calls it, with pages that hold nothing but what Quarto adds.
import os, subprocess, sys, yaml
from pathlib import Path

project, arguments = Path.cwd(), sys.argv[1:]
config = yaml.safe_load(Path('_quarto.yml').read_text(encoding='utf-8'))['project']
out = project / config['output-dir']
out.mkdir(exist_ok=True)
environment = {{**os.environ, 'QUARTO_PROJECT_DIR': str(project), 'QUARTO_PROJECT_OUTPUT_DIR': str(out)}}
if '-o' in arguments:
    made = [out / arguments[arguments.index('-o') + 1]]
else:
    environment['QUARTO_PROJECT_RENDER_ALL'] = '1'
    made = [(out / path.relative_to(project)).with_suffix('.html') for path in Path('nbs').absolute().rglob('*.ipynb')]
subprocess.run(config['pre-render'], shell=True, check=True, env=environment)
for path in made:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text({page!r}, encoding='utf-8')
environment['QUARTO_PROJECT_OUTPUT_FILES'] = '\\n'.join(os.path.relpath(path, project) for path in made)
subprocess.run(config['post-render'], shell=True, check=True, env=environment)
"""
ADDED = """<script src="site_libs/quarto-nav/quarto-nav.js"></script>
<script src="https://cdnjs.cloudflare.com/ajax/libs/require.js/2.3.6/require.min.js" integrity="sha512-c3" crossorigin="anonymous"></script>
<script src="https://cdnjs.cloudflare.com/ajax/libs/jquery/3.5.1/jquery.min.js" crossorigin="anonymous" data-relocate-top="true"></script>
<script type="application/javascript">define('jquery', [],function() {return window.jQuery;})</script>
"""


@pytest.fixture
def fake_quarto(tmp_path):
    "An environment whose PATH has a program `quarto` that does what the real one does for nbdev_docs."
    program = tmp_path / "bin" / "quarto"
    program.parent.mkdir()
    program.write_text(QUARTO.format(python=sys.executable, page=ADDED), encoding="utf-8")
    program.chmod(0o755)
    return {**os.environ, "PATH": os.pathsep.join([str(program.parent), str(Path(sys.executable).parent), os.environ["PATH"]])}


@pytest.mark.slow
def test_nbdev_docs(root, tmp_path, fake_quarto):
    "nbdev_docs builds, keeps our README, and leaves nothing that git sees."
    copy = committed_copy(root, tmp_path / "copy")
    readme = (copy / "README.md").read_bytes()
    os.utime(copy / "README.md", (0, 0))  # older than its notebook, so nbdev renders it anew
    made = subprocess.run(["nbdev_docs", "--n_workers", "2"], cwd=copy, env=fake_quarto, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout[-1500:] + made.stderr[-1500:]
    assert (copy / "README.md").read_bytes() == readme and (copy / "README.md").stat().st_mtime > 0
    assert status(copy) == ""
    pages = list((copy / "_docs" / "nbs").rglob("*.html"))
    assert len(pages) == len(notebook_paths(root / "nbs")) + 1  # with the page that reads drawn digits
    assert not [p.name for p in pages if "cdnjs" in (text := p.read_text(encoding="utf-8")) or "define('jquery'" in text]
    assert (copy / "_docs" / "nbs" / "plotly.min.js").exists() and (copy / "_docs" / "notebooks" / "index.ipynb").exists()


def test_quarto_adds_nothing_to_gitignore(root):
    assert {"/.quarto/", "**/*.quarto_ipynb"} <= set((root / ".gitignore").read_text(encoding="utf-8").splitlines())


# Rules of Quarto's own style sheets that matter here, with the colours of its theme slate.
SLATE = """
body { color: #7a8288; background: #272b30; margin: 0; font: 17px sans-serif; }
a { color: #fff; } h1, h2 { color: #8e959a; } h3, h4, h5, h6 { opacity: .9; } code { color: #9753b8; }
p code:not(.sourceCode), li code:not(.sourceCode), td code:not(.sourceCode) { background: rgba(233, 236, 239, .65); padding: .2em; }
.table > :not(caption) > * > * { color: #fff; background: #272b30; box-shadow: inset 0 0 0 9999px rgba(255, 255, 255, .05); padding: .5rem; }
div.sourceCode { background: rgba(36, 40, 45, .65); overflow-y: hidden; } pre.sourceCode { background: transparent; overflow: visible !important; }
code.sourceCode { color: #f8f8f2; } code span.kw { color: #ffa07a; } code span.er { color: #f07178; } code span.co { color: #f8f8f2; }
code span.op { color: #ffa07a; } code span.st { color: #abe338; } code span.im { color: #abe338; } code span.dv { color: #d4d0ab; }
#quarto-sidebar { background: #bdc1c4; } #quarto-sidebar a { color: #595959; } #TOC a { color: inherit; }
.description { opacity: .9; }
#quarto-content { display: grid; grid-template-columns: [screen-start] 1.5em [body-content-start] minmax(0px, 1fr) [body-content-end] 1.5em [screen-end]; }
#quarto-content > * { grid-column: body-content-start / body-content-end; }
main.page-columns, main .page-columns { display: grid; grid-template-columns: 1fr; } .cell-output-display { overflow-x: scroll; }
"""
WORDS = "benchmarks/results/time_to_accuracy_of_every_contender_and_every_seed.json"
WIDE = "<tr>" + "<td>a column of words</td>" * 12 + "</tr>"
PAGE = f"""<!DOCTYPE html><html lang="en"><head><title>A page</title><meta name="viewport" content="width=device-width">
<style>{SLATE}</style><style>STYLES</style></head><body class="quarto-dark floating"><div id="quarto-content">
<nav id="quarto-sidebar"><span>Core</span> <a href="#a">Files</a></nav><nav id="TOC"><a href="#a">A section</a></nav>
<main class="content page-columns" id="quarto-document-content"><header><h1 class="title">Title</h1><div class="description">A line.</div></header>
<p class="page-links"><a href="#a">Download this notebook</a></p>
<p>Text with <code>code</code>, <a href="#a">a link</a> and <a href="#a"><code>linked_code</code></a>, {WORDS}, <code>{WORDS}</code>.</p>
<section class="level2 page-columns"><h2 id="a">A section</h2><h3><code>{WORDS}</code></h3><blockquote>Quoted.</blockquote>
<table class="caption-top table"><thead><tr><th>takes</th><th></th></tr></thead><tbody><tr><td><strong>x</strong> <code>= {WORDS}</code></td><td>an image</td></tr></tbody></table>
<table class="caption-top table"><tbody>{WIDE}</tbody></table>
<div class="cell-output cell-output-display"><table class="dataframe table table-sm table-striped small"><tbody>{WIDE}</tbody></table></div>
<div class="cell-output cell-output-stdout"><pre><code>{'a printed row of a table ' * 8}</code></pre></div>
<div class="sourceCode"><pre class="sourceCode python"><code class="sourceCode python"><span id="cb1-1"><span class="im">from</span> x
<span class="kw">def</span> f(x<span class="op">=</span><span class="dv">1</span>): <span class="st">"a text {WORDS} {WORDS}"</span> <span class="co"># a comment</span> <span class="er">!</span></span></code></pre></div>
<details class="source"><summary>Source</summary></details>
<figure class="live-figure"><figcaption>A caption</figcaption><table class="dataframe"><tbody><tr><td>12</td></tr></tbody></table></figure>
</section></main></div></body></html>"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def judged(browser, styles, shots=None):
    "What is too pale on a page of Quarto with these styles, and how wide the page is on a phone."
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_content(PAGE.replace("STYLES", styles))
    found = Axe().run(page, options={"runOnly": {"type": "rule", "values": ["color-contrast"]}, "resultTypes": ["violations"]})
    pale = [n["html"][:60] + " " + (n["any"] or [{}])[0].get("message", "") for v in found.response["violations"] for n in v["nodes"]]
    if shots:
        page.screenshot(path=shots / "quarto-dark.png", full_page=True)
    page.set_viewport_size({"width": PHONE, "height": 900})
    width = page.evaluate("document.documentElement.scrollWidth")
    if shots:
        page.screenshot(path=shots / "quarto-dark-390.png", full_page=True)
    page.close()
    return pale, width


@pytest.mark.browser
def test_dark_pages_of_quarto_can_be_read(root, browser, pytestconfig):
    pale, width = judged(browser, (root / "nbs" / "styles.css").read_text(encoding="utf-8"), screenshot_folder(pytestconfig))
    assert (pale, width) == ([], PHONE)


@pytest.mark.browser
def test_dark_pages_of_quarto_need_our_styles(browser):
    pale, width = judged(browser, "")
    assert len(pale) >= 5 and width > PHONE
