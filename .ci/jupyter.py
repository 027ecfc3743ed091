"""Open notebooks in JupyterLab (and in Notebook, if it is installed) in Chromium: there are saved figures, and they are drawn,
with no error and nothing fetched from elsewhere; see CONTRIBUTING.md."""
import argparse
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from browser import FLAGS
from playwright.sync_api import sync_playwright

STAGES = ["00_data", "01_preprocess", "02_model", "03_train", "04_evaluate", "05_submit"]
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


def figures(notebook):
    "How many figures are saved in a notebook."
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return sum("application/vnd.plotly.v1+json" in o.get("data", {}) for c in cells for o in c.get("outputs", []))


def serve(folder):
    "JupyterLab on a copy of the notebooks, with settings of its own; the process and its address."
    shutil.copytree("nbs", folder / "nbs")
    for name, settings in SETTINGS.items():
        place = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(settings))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {**os.environ, "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
           "JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_DATA_DIR": str(folder / "data"), "HOME": str(folder)}
    token = secrets.token_hex(16)
    options = ["--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
               f"--ServerApp.root_dir={folder / 'nbs'}", *["--allow-root"] * (os.name == "posix" and os.geteuid() == 0)]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=env, stdout=log, stderr=log)
    for _ in range(120):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token={token}", timeout=5).close()
            return server, f"http://127.0.0.1:{port}", token
        except OSError:
            time.sleep(0.5)
    server.terminate()
    raise RuntimeError((folder / "log").read_text()[-2000:])


def visit(context, site, address, want, shot):
    "What is wrong with one notebook's figures."
    page, elsewhere, errors = context.new_page(), set(), []
    page.on("pageerror", lambda e: errors.append(f"error: {e}"))

    def guard(route):
        if route.request.url.startswith((site, "data:", "blob:")):
            return route.continue_()
        elsewhere.add(route.request.url)
        route.abort()

    page.route("**/*", guard)
    page.goto(address)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    drawn, quiet = set(), 0
    while quiet < 60 and len(drawn) < want:  # only what is in view is drawn, so go down, waiting for each
        page.wait_for_timeout(250)
        seen, moved = page.evaluate(LOOK)
        quiet = 0 if moved or set(seen) - drawn else quiet + 1
        drawn |= set(seen)
    page.evaluate(SHOW_LAST)
    page.wait_for_timeout(1000)
    if shot:
        page.screenshot(path=shot)
    page.close()
    wrong = [f"{len(drawn)} drawings for {want} figures"] * (len(drawn) != want) + errors
    return wrong + [f"fetched from elsewhere: {url}" for url in sorted(elsewhere)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screens", type=Path, help="folder for pictures of what was opened")
    args = parser.parse_args()
    if args.screens:
        args.screens.mkdir(parents=True, exist_ok=True)
    apps = {"JupyterLab": "lab/workspaces/{0}/tree/{0}"} | ({"Notebook": "notebooks/{0}"} if importlib.util.find_spec("notebook") else {})
    saved = {name: figures(Path("nbs", f"{name}.ipynb")) for name in STAGES}
    failed = 0
    with tempfile.TemporaryDirectory() as tmp, sync_playwright() as p:
        server, site, token = serve(Path(tmp))
        try:
            browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            for app, path in apps.items():
                for name in STAGES:
                    shot = args.screens and args.screens / f"{app}-{name}.png"
                    wrong = visit(context, site, f"{site}/{path.format(name)}.ipynb?token={token}", saved[name], shot)
                    failed += bool(wrong)
                    print(f"{app}: {name}", *(wrong or ["fine"]), sep=": ", flush=True)
            browser.close()
        finally:
            server.terminate()
            server.wait(30)
    print(f"{sum(saved.values())} saved figures")
    sys.exit(bool(failed or not any(saved.values())))


if __name__ == "__main__":
    main()
