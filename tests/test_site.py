"""The built site in Chromium: each page at two widths, light and dark, and the links, search and downloads between pages."""
import re
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from browsing import DESK, PHONE, built_site, chromium, screenshot_folder, serve, site_pages
from processes import run

ROOT = Path(__file__).resolve().parent.parent
PAGES = site_pages(ROOT)
RULES = ["color-contrast", "heading-order", "page-has-heading-one", "image-alt", "role-img-alt", "link-name", "button-name",
         "document-title", "html-has-lang", "duplicate-id-aria", "list", "empty-heading"]
DARK = ["index", "00_data", "04_evaluate", "architecture", "reference", "core/files"]  # also photographed in the dark
MAX_BYTES = 1_500_000  # of a page, plotly.js excluded
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

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("site")]


class Visit:
    "One page, opened on a desk, in the dark and on a phone: what went wrong, and what is on it."

    def __init__(self, browser, site, path, figure=".plotly-figure", rules=(), shots=None):
        self.site, self.figure, self.shots, self.wrong, self.bytes = site, figure, shots, [], 0
        self.page = browser.new_page(viewport={"width": DESK, "height": 900}, reduced_motion="reduce")
        self.page.on("pageerror", lambda e: self.wrong.append(f"error: {e}"))
        self.page.on("console", lambda m: m.type == "error" and self.wrong.append(f"console: {m.text}"))
        self.page.on("response", self.receive)
        self.page.route("**/*", self.guard)
        self.page.goto(f"{site}/{path}", wait_until="load")
        self.facts = self.look(DESK)
        self.transfer = self.bytes
        self.judge(rules)
        self.judge_dark(["color-contrast"] if rules else [], dark=path.removeprefix("nbs/").removesuffix(".html") in DARK)
        self.page.set_viewport_size({"width": PHONE, "height": 900})
        self.page.reload(wait_until="load")
        self.look(PHONE)
        self.page.close()

    def guard(self, route):
        if route.request.url.startswith((self.site, "data:", "blob:")):
            return route.continue_()
        self.wrong.append(f"fetched from elsewhere: {route.request.url}")
        route.abort()

    def receive(self, response):
        if response.status >= 400:
            self.wrong.append(f"{response.status}: {response.url}")
        elif not response.url.endswith("plotly.min.js") and response.url.startswith("http"):
            self.bytes += int(response.headers.get("content-length", 0))

    def look(self, width):
        "What is on the page at this width."
        self.page.wait_for_timeout(200)
        facts = self.page.evaluate(FACTS, self.figure)
        wrong = [f"{facts['drawn']} drawings for {facts['places']} figures"] * (facts["drawn"] != facts["places"])
        wrong += [f"{facts['nameless']} figures without a name"] * bool(facts["nameless"])
        wrong += [f"unrendered Markdown: {text}" for text in facts["raw"]]
        wrong += [f"{facts['h1']} main headings"] * (facts["h1"] != 1)
        wrong += [f"must be scrolled sideways: {facts['width']} wide"] * (facts["width"] > width)
        self.wrong += [f"at {width}: {w}" for w in wrong]
        if self.shots:
            self.page.screenshot(path=f"{self.shots}-{width}.png", full_page=True)
        return facts

    def judge(self, rules):
        "What axe finds wrong with the page."
        if rules:
            found = Axe().run(self.page, options={"runOnly": {"type": "rule", "values": list(rules)}, "resultTypes": ["violations"]})
            self.wrong += [f"{v['id']}: {n['html'][:120]} {(n['any'] or [{}])[0].get('message', '')}"
                           for v in found.response["violations"] for n in v["nodes"][:3]]

    def judge_dark(self, rules, dark):
        "The same where the reader's machine prefers dark pages."
        self.page.emulate_media(color_scheme="dark")
        self.page.wait_for_timeout(200)
        self.judge(rules)
        if self.shots and dark:
            self.page.screenshot(path=f"{self.shots}-dark.png", full_page=True)
        self.page.emulate_media(color_scheme="light")


@pytest.fixture(scope="module")
def docs():
    "The folder of the built site."
    return built_site(ROOT)


@pytest.fixture(scope="module")
def site(docs):
    "The address of the built site."
    with serve(docs) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def screens(pytestconfig):
    return screenshot_folder(pytestconfig)


@pytest.fixture(scope="module")
def visit(browser, site, screens):
    "A function that visits a page, each page once."
    visits = {}

    def visit(path):
        if path not in visits:
            name = path.removeprefix("nbs/").removesuffix(".html").replace("/", "-")
            visits[path] = Visit(browser, site, path, rules=RULES, shots=screens and screens / name)
        return visits[path]

    return visit


@pytest.mark.parametrize("path", PAGES)
def test_page(path, visit):
    seen = visit(path)
    assert not seen.wrong
    assert seen.transfer <= MAX_BYTES


def test_every_page_is_in_the_sidebar(docs):
    built = {p.relative_to(docs).as_posix() for p in docs.rglob("*.html")}
    assert built - {"index.html", "nbs/try.html"} == set(PAGES)


def test_no_page_shows_an_address_in_the_memory(docs):
    assert not [p.name for p in docs.rglob("*.html") if re.search(r"\bat 0x[0-9a-fA-F]{6}", p.read_text(encoding="utf-8"))]


def test_there_are_figures(visit):
    assert visit("nbs/00_data.html").facts["places"]
    assert any(visit(path).facts["places"] for path in PAGES if path.count("/") == 2)


def test_links_lead_somewhere(docs, site, visit):
    facts, dead = {path: visit(path).facts for path in PAGES}, []
    for path in PAGES:
        for link in sorted(set(facts[path]["links"])):
            url, anchor = urldefrag(link)
            target = unquote(url.removeprefix(f"{site}/"))
            if not url.startswith(site):
                continue
            if target in facts and anchor and unquote(anchor) not in facts[target]["ids"]:
                dead.append(f"{path}: no heading or name {target}#{anchor}")
            if target not in facts and not (docs / target).exists():
                dead.append(f"{path}: no file {target}")
    assert not dead, "\n".join(dead)


@pytest.mark.parametrize("start", ["nbs/index.html", "nbs/core/files.html"])
def test_search(start, browser, site, screens):
    page = browser.new_page(viewport={"width": DESK, "height": 900})
    page.goto(f"{site}/{start}")
    page.locator("#quarto-search input").first.fill("load_digits")
    results = page.locator(".search-result, .aa-Item a")
    results.first.wait_for(timeout=5000)
    if screens:
        page.screenshot(path=screens / "search.png")
    results.first.click()
    page.wait_for_load_state()
    assert page.locator("main", has_text="load_digits").count() and not page.url.endswith(start)
    page.close()


def test_figures_have_stand_ins_without_script(browser, site, visit, screens):
    context = browser.new_context(viewport={"width": DESK, "height": 900}, java_script_enabled=False)
    page = context.new_page()
    for path in PAGES:
        if visit(path).facts["places"]:
            page.goto(f"{site}/{path}")
            figures, shown = page.locator(".live-figure"), page.locator(".live-figure noscript > :is(svg, table)")
            assert figures.count() == shown.count() and shown.first.is_visible(), path
            if screens and path == "nbs/00_data.html":
                page.screenshot(path=screens / "00_data-no-script.png", full_page=True)
    context.close()


def test_a_slider_shows_other_moments(browser, site):
    page = browser.new_page(viewport={"width": DESK, "height": 1000})
    page.goto(f"{site}/nbs/watch.html")
    figure = page.locator(".plotly-figure").first
    figure.scroll_into_view_if_needed()
    look = "e => [e.querySelector('.annotation-text').textContent, e.data[0].source, e.querySelector('.heatmaplayer image').getAttribute('href')]"
    last, rail = figure.evaluate(look), figure.locator(".slider-rail-touch-rect").bounding_box()
    page.mouse.click(rail["x"] + 5, rail["y"] + 8)
    expect(figure.locator(".annotation-text").first).to_contain_text("step 0:")
    page.wait_for_function("([e, source]) => e.data[0].source !== source", arg=[figure.element_handle(), last[1]])
    first = figure.evaluate(look)
    page.close()
    assert last[0].startswith("step 230:") and first[0].startswith("step 0:")
    assert first[1] != last[1] and first[2] != last[2]


def test_a_digit_appears_under_the_pointer(browser, site, screens):
    page = browser.new_page(viewport={"width": DESK, "height": 1000})
    page.goto(f"{site}/nbs/analysis/digit_map.html")
    figure = page.locator(".plotly-figure").last
    figure.scroll_into_view_if_needed()
    mistake = figure.locator(".scatterlayer .trace").last.locator("path.point").nth(12).bounding_box()
    page.mouse.move(mistake["x"] + mistake["width"] / 2, mistake["y"] + mistake["height"] / 2)
    label = figure.locator(".hoverlayer .hovertext").first
    label.wait_for(timeout=5000)
    lines = label.locator("tspan.line").all_text_contents()
    if screens:
        page.screenshot(path=screens / "digit_map-hover.png")
    page.close()
    assert re.fullmatch(r"label \d, answer \d \(\d+%\)", lines[-1])
    assert len(lines) >= 5 and all(re.fullmatch("[ ▀▄█]+", line) for line in lines[:-1])


def test_notebooks_can_be_downloaded(docs, visit, site):
    for path in (p for p in PAGES if (ROOT / p).with_suffix(".ipynb").exists()):
        name = path.removeprefix("nbs/").removesuffix(".html") + ".ipynb"
        assert f"{site}/notebooks/{name}" in visit(path).facts["links"], path
        assert (docs / "notebooks" / name).read_bytes() == (ROOT / "nbs" / name).read_bytes(), path


def test_each_page_leads_to_the_next(docs, visit):
    for path, following in zip(PAGES, PAGES[1:]):
        text = (docs / path).read_text(encoding="utf-8")
        navigation = re.search(r'class="page-navigation".*?</nav>', text, re.S)
        assert navigation and Path(following).name in navigation[0], f"{path} does not lead to {following}"


def test_report(browser, tmp_path, screens):
    "The report of a run, opened as a file."
    told = run(["run", "--recipe", "tiny", "--quiet"], cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    folder = tmp_path / "runs" / "tiny"
    seen = Visit(browser, folder.as_uri(), "report.html", ".plotly-graph-div", shots=screens and screens / "report")
    assert not seen.wrong and seen.facts["places"]
