"""Open every page of the built site, or reports (HTML files), in Chromium; see CONTRIBUTING.md."""
import argparse
import functools
import re
import shutil
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
DESK, PHONE = 1280, 390
RULES = ["color-contrast", "heading-order", "page-has-heading-one", "image-alt", "role-img-alt", "link-name", "button-name",
         "document-title", "html-has-lang", "duplicate-id-aria", "list", "empty-heading"]
DARK = ["index", "00_data", "04_evaluate", "reference"]  # of these, pictures in the dark
LIMIT = 3_000_000  # bytes of a page, beside plotly.js
FACTS = """figure => {
    const places = [...document.querySelectorAll(figure)];
    const drawn = f => f.querySelector('svg.main-svg') && f.querySelector('.trace, image, path.point, .heatmaplayer image');
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), raw = [];
    while (texts.nextNode()) {
        const {textContent, parentElement} = texts.currentNode;
        if (textContent.includes('](') && !parentElement.closest('code, pre, script, style, noscript')) raw.push(textContent.trim().slice(0, 60));
    }
    return {raw, places: places.length, drawn: places.filter(drawn).length,
            nameless: places.filter(f => f.matches('[role=img]') && ['', 'figure'].includes(f.ariaLabel)).length,
            h1: document.querySelectorAll('h1').length, width: document.documentElement.scrollWidth,
            ids: [...document.querySelectorAll('[id]')].map(e => e.id), links: [...document.links].map(a => a.href)}
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class Visit:
    "One page, opened on a desk, in the dark and on a phone: what went wrong, and what is on it."

    def __init__(self, browser, site, path, figure=".plotly-figure", rules=(), shots=None):
        self.page, self.site, self.wrong, self.bytes = browser.new_page(viewport={"width": DESK, "height": 900}), site, [], 0
        self.page.on("pageerror", lambda e: self.wrong.append(f"error: {e}"))
        self.page.on("console", lambda m: m.type == "error" and self.wrong.append(f"console: {m.text}"))
        self.page.on("response", self.received)
        self.page.route("**/*", self.guard)
        self.page.goto(f"{site}/{path}", wait_until="load")
        self.facts = self.look(figure, DESK, shots)
        self.transfer = self.bytes
        if rules:
            self.judge(rules)
            self.page.emulate_media(color_scheme="dark")
            self.page.wait_for_timeout(200)
            self.judge(["color-contrast"])
            if shots and Path(path).stem in DARK:
                self.page.screenshot(path=f"{shots}-dark.png", full_page=True)
            self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size({"width": PHONE, "height": 900})
        self.page.reload(wait_until="load")
        self.look(figure, PHONE, shots)
        self.page.close()

    def guard(self, route):
        if route.request.url.startswith((self.site, "data:", "blob:")):
            return route.continue_()
        self.wrong.append(f"fetched from elsewhere: {route.request.url}")
        route.abort()

    def look(self, figure, width, shots):
        "What is on the page at this width."
        self.page.wait_for_timeout(200)
        facts = self.page.evaluate(FACTS, figure)
        wrong = [f"{facts['drawn']} drawings for {facts['places']} figures"] * (facts["drawn"] != facts["places"])
        wrong += [f"{facts['nameless']} figures without a text in their place"] * bool(facts["nameless"])
        wrong += [f"Markdown that was left as it is: {text}" for text in facts["raw"]]
        wrong += [f"{facts['h1']} main headings"] * (facts["h1"] != 1)
        wrong += [f"must be scrolled sideways: {facts['width']} wide"] * (facts["width"] > width)
        self.wrong += [f"at {width}: {w}" for w in wrong]
        if shots:
            self.page.screenshot(path=f"{shots}-{width}.png", full_page=True)
        return facts

    def judge(self, rules):
        "What axe finds wrong with the page."
        found = Axe().run(self.page, options={"runOnly": {"type": "rule", "values": list(rules)}, "resultTypes": ["violations"]})
        self.wrong += [f"{v['id']}: {n['html'][:120]} {(n['any'] or [{}])[0].get('message', '')}"
                       for v in found.response["violations"] for n in v["nodes"][:3]]

    def received(self, response):
        if response.status >= 400:
            self.wrong.append(f"{response.status}: {response.url}")
        elif not response.url.endswith("plotly.min.js") and response.url.startswith("http"):
            self.bytes += int(response.headers.get("content-length", 0))


def reports(browser, files, screens):
    "Check reports at the width of a desk and of a phone."
    failed = figures = 0
    for file in map(Path, files):
        visit = Visit(browser, file.resolve().parent.as_uri(), file.name, ".plotly-graph-div", shots=screens and screens / file.stem)
        failed, figures = failed + bool(visit.wrong), figures + visit.facts["places"]
        print(file, *(visit.wrong or ["fine"]), sep=": ")
    return failed, figures


def dead_links(site, docs, visits):
    "Links from pages to pages, files and places in pages that do not exist."
    for path, visit in visits.items():
        for link in sorted(set(visit.facts["links"])):
            url, anchor = urldefrag(link)
            target = unquote(url.removeprefix(f"{site}/"))
            if not url.startswith(site):
                continue
            if target in visits and anchor and unquote(anchor) not in visits[target].facts["ids"]:
                yield path, f"no place {link}"
            if target not in visits and not (docs / target).exists():
                yield path, f"no file {link}"


def search(browser, site, word, shot):
    "What the search box finds, and whether its first answer has the word."
    page = browser.new_page(viewport={"width": DESK, "height": 900})
    page.goto(f"{site}/nbs/index.html")
    page.locator("#quarto-search input").first.fill(word)
    page.locator(".search-result, .aa-Item a").first.wait_for(timeout=5000)
    if shot:
        page.screenshot(path=shot)
    page.locator(".search-result, .aa-Item a").first.click()
    page.wait_for_load_state()
    found = page.locator("main", has_text=word).count() and not page.url.endswith("index.html")
    page.close()
    return [] if found else [f"search does not find {word}"]


def without_script(browser, site, path, shot):
    "Whether something stands in for each figure where no script runs."
    page = browser.new_page(viewport={"width": DESK, "height": 900}, java_script_enabled=False)
    page.goto(f"{site}/{path}")
    figures, there = page.locator(".live-figure"), page.locator(".live-figure noscript > :is(svg, table)")
    wrong = [] if figures.count() == there.count() and there.first.is_visible() else ["figures without a stand-in"]
    if shot:
        page.screenshot(path=shot, full_page=True)
    page.close()
    return wrong


def structure(docs, notebooks):
    "Whether notebooks can be downloaded, and the stages lead from one to the next."
    for notebook in notebooks:
        html = (docs / "nbs" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        if (docs / "notebooks" / notebook.name).read_bytes() != notebook.read_bytes() or f"notebooks/{notebook.name}" not in html:
            yield f"{notebook.name} cannot be downloaded"
    stages = [n for n in notebooks if n.name[:2] in ("00", "01", "02", "03", "04", "05")]
    for this, following in zip(stages, stages[1:]):
        nav = re.search(r'class="page-navigation".*?</nav>', (docs / "nbs" / f"{this.stem}.html").read_text(encoding="utf-8"), re.S)
        if not nav or f"{following.stem}.html" not in nav[0]:
            yield f"{this.name} does not lead to {following.name}"


def pages(browser, docs, screens, only):
    "Check a site: each page on a desk, in the dark and on a phone, and what they make together."
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=docs))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site, failed, visits = f"http://127.0.0.1:{server.server_port}", 0, {}
    for page in sorted(p for p in docs.rglob("*.html") if p != docs / "index.html" and p.match(only)):
        path = page.relative_to(docs).as_posix()
        visit = visits[path] = Visit(browser, site, path, rules=RULES, shots=screens and screens / page.stem)
        visit.wrong += [f"{visit.transfer:,} bytes"] * (visit.transfer > LIMIT)
        failed += bool(visit.wrong)
        print(path, f"{visit.facts['places']} figures, {visit.transfer / 1e6:.2f} MB", *(visit.wrong or ["fine"]), sep=": ", flush=True)
    together = [f"{path}: {wrong}" for path, wrong in dead_links(site, docs, visits)]
    together += search(browser, site, "load_digits", screens and screens / "search.png")
    together += without_script(browser, site, "nbs/00_data.html", screens and screens / "00_data-no-script.png")
    together += structure(docs, sorted(Path("nbs").glob("*.ipynb")))
    print("links, search, stand-ins, downloads, order", *(together or ["fine"]), sep=": ")
    return failed + bool(together), sum(v.facts["places"] for v in visits.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, help="the folder of a site, or reports")
    parser.add_argument("--screens", type=Path, help="folder for pictures of all that was opened")
    parser.add_argument("--only", default="*.html", help="pages of a site to open, as a pattern")
    args = parser.parse_args()
    if args.screens:
        args.screens.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        failed, figures = (pages(browser, args.paths[0], args.screens, args.only) if args.paths[0].is_dir()
                           else reports(browser, args.paths, args.screens))
        browser.close()
    print(f"{figures} figures")
    sys.exit(bool(failed or not figures))


if __name__ == "__main__":
    main()
