"""Open every page of the built site, or reports (HTML files), in Chromium: figures drawn, no error, nothing fetched from
elsewhere; a report is no wider than a phone."""
import functools
import shutil
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def problems(browser, site, path, figure=".plotly-figure", width=1280):
    "What is wrong with one page."
    page, wrong = browser.new_page(viewport={"width": width, "height": 900}), []
    page.on("pageerror", lambda e: wrong.append(f"error: {e}"))
    page.on("console", lambda m: m.type == "error" and wrong.append(f"console: {m.text}"))
    page.on("response", lambda r: r.status >= 400 and wrong.append(f"{r.status}: {r.url}"))

    def guard(route):
        if route.request.url.startswith((site, "data:", "blob:")):
            return route.continue_()
        wrong.append(f"fetched from elsewhere: {route.request.url}")
        route.abort()

    page.route("**/*", guard)
    page.goto(f"{site}/{path}", wait_until="load")
    places, drawn = page.locator(figure).count(), page.locator(f"{figure}:has(svg.main-svg)").count()
    if drawn != places:
        wrong.append(f"{drawn} drawings for {places} figures")
    if not page.locator("h1").count():
        wrong.append("no heading")
    if width < 600 and page.evaluate("document.documentElement.scrollWidth") > width:
        wrong.append("must be scrolled sideways")
    page.close()
    return wrong, places


def reports(browser, files):
    "Check reports at the width of a desk and of a phone."
    failed = figures = 0
    for file in files:
        for width in (1280, 390):
            wrong, n = problems(browser, Path(file).resolve().parent.as_uri(), Path(file).name, ".plotly-graph-div", width)
            failed, figures = failed + bool(wrong), figures + n
            print(f"{file} at {width}", *(wrong or ["fine"]), sep=": ")
    return failed, figures


def pages(browser, docs):
    "Check a site."
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=docs))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site, failed, figures = f"http://127.0.0.1:{server.server_port}", 0, 0
    for page in sorted(p for p in Path(docs).rglob("*.html") if p.parent != Path(docs) or p.name != "index.html"):
        wrong, n = problems(browser, site, page.relative_to(docs).as_posix())
        figures, failed = figures + n, failed + bool(wrong)
        print(page.name, *(wrong or ["fine"]), sep=": ")
    return failed, figures


def main(paths):
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        failed, figures = pages(browser, paths[0]) if Path(paths[0]).is_dir() else reports(browser, paths)
        browser.close()
    print(f"{figures} figures")
    sys.exit(bool(failed or not figures))


if __name__ == "__main__":
    main(sys.argv[1:])
