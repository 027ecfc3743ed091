"""Chromium for several tests: the built site, a server for a folder, and the pages of a site."""
import functools
import os
import shutil
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
DESK, PHONE = 1280, 390  # pixels


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def serve(folder):
    "A server for a folder on this machine; its address."
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def chromium():
    "A browser."
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@functools.cache
def built_site(root):
    "Build the site once in this process; its folder."
    from digit_recognizer.docs import build_site

    before = os.getcwd()
    os.chdir(root)
    try:
        return build_site().resolve()
    finally:
        os.chdir(before)


def site_pages(root):
    "The pages of the site in the order of the sidebar, relative to the built site."
    from digit_recognizer.docs import sidebar_pages

    return [page.rsplit(".", 1)[0] + ".html" for _, page in sidebar_pages(root)]


def screenshot_folder(config):
    "The folder that --screens names, made if needed; None without it."
    folder = config.getoption("--screens")
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    return folder
