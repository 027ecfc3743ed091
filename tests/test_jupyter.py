"""Notebooks in JupyterLab, and in Notebook where it is installed: every saved figure is drawn, and nothing is fetched from elsewhere."""
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from browsing import chromium, screenshot_folder

from digit_recognizer.core.pages import PLOTLY_MIME
from digit_recognizer.docs import notebook_paths

ROOT = Path(__file__).resolve().parent.parent
OPENED = ["00_data", "01_preprocess", "02_model", "03_train", "04_evaluate", "05_submit", "core/pages", "watch", "analysis/confidence", "analysis/digit_map"]
APPS = {"JupyterLab": "lab/workspaces/{workspace}/tree/{name}.ipynb"}
if importlib.util.find_spec("notebook"):
    APPS["Notebook"] = "notebooks/{name}.ipynb"
SETTINGS = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}
LOOK = """() => {
    const panel = document.querySelector('.jp-WindowedPanel-outer'), before = panel.scrollTop;
    const drawn = f => f.querySelector('.trace, image, path.point');
    const inView = f => { const r = f.getBoundingClientRect(); return r.height && r.top < innerHeight && r.bottom > 0; };
    const figures = [...document.querySelectorAll('.jp-RenderedPlotly')];
    if (figures.some(f => inView(f) && !drawn(f))) return [[], false];
    panel.scrollTop = before + 400;
    return [figures.filter(drawn).map(f => f.closest('.jp-Cell').dataset.windowedListIndex), panel.scrollTop > before];
}"""
SHOW_LAST = "() => [...document.querySelectorAll('.jp-RenderedPlotly')].pop()?.scrollIntoView({block: 'center'})"


def saved_figures(name):
    "The outputs of a notebook that hold a figure."
    cells = json.loads((ROOT / "nbs" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return [o["data"] for c in cells for o in c.get("outputs", []) if PLOTLY_MIME in o.get("data", {})]


@pytest.mark.parametrize("name", [n.removesuffix(".ipynb") for n in notebook_paths(ROOT / "nbs")])
def test_figures_are_saved_with_stand_in_and_title(name):
    for data in saved_figures(name):
        assert {"text/html", "image/svg+xml"} & data.keys()
        assert data[PLOTLY_MIME]["layout"].get("title", {}).get("text")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def write_settings(folder):
    "Settings that keep JupyterLab from asking the network for news."
    for name, settings in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(settings))


def start_jupyter(folder, port, token):
    "JupyterLab on the notebooks in a folder, with settings of its own; a Popen."
    places = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "JUPYTER_CONFIG_DIR": "config",
              "JUPYTER_DATA_DIR": "data", "HOME": "."}
    options = ["--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
               f"--ServerApp.root_dir={folder / 'nbs'}", *["--allow-root"] * (os.name == "posix" and os.geteuid() == 0)]
    with open(folder / "log", "w") as log:
        return subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], stdout=log, stderr=log,
                                env={**os.environ, **{name: str(folder / place) for name, place in places.items()}})


def wait_until_up(address, token):
    "Wait for at most a minute."
    for _ in range(120):
        try:
            return urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=5).close()
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"{address}: JupyterLab did not start")


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory):
    "JupyterLab on a copy of the notebooks; its address and token."
    folder, port, token = tmp_path_factory.mktemp("jupyter"), free_port(), secrets.token_hex(16)
    shutil.copytree(ROOT / "nbs", folder / "nbs")
    write_settings(folder)
    server = start_jupyter(folder, port, token)
    try:
        wait_until_up(f"http://127.0.0.1:{port}", token)
        yield f"http://127.0.0.1:{port}", token
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def context():
    with chromium() as browser:
        yield browser.new_context(viewport={"width": 1280, "height": 900})


def drawn_figures(page, n):
    "Scroll down until `n` figures are drawn or nothing more appears; how many are drawn."
    drawn, unchanged = set(), 0
    while unchanged < 60 and len(drawn) < n:  # Jupyter draws only what is in view
        page.wait_for_timeout(250)
        seen, moved = page.evaluate(LOOK)
        unchanged = 0 if moved or set(seen) - drawn else unchanged + 1
        drawn |= set(seen)
    return len(drawn)


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.xdist_group("jupyter")
@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("name", OPENED)
def test_figures_are_drawn(app, name, jupyter, context, pytestconfig):
    site, token = jupyter
    page, elsewhere, errors = context.new_page(), set(), []
    page.on("pageerror", lambda e: errors.append(str(e)))

    def guard(route):
        if route.request.url.startswith((site, "data:", "blob:")):
            return route.continue_()
        elsewhere.add(route.request.url)
        route.abort()

    page.route("**/*", guard)
    workspace = name.replace("/", "-")
    page.goto(f"{site}/{APPS[app].format(workspace=workspace, name=name)}?token={token}")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    saved = len(saved_figures(name))
    drawn = drawn_figures(page, saved)
    page.evaluate(SHOW_LAST)
    page.wait_for_timeout(1000)
    screens = screenshot_folder(pytestconfig)
    if screens:
        page.screenshot(path=screens / f"{app}-{workspace}.png")
    page.close()
    assert (drawn, errors, elsewhere) == (saved, [], set())
