"""uv with the package index that pip is configured for, the Pythons of this machine, and what the project requires."""
import ast
import glob
import os
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

UV_NAMES = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS", "no-index": "UV_NO_INDEX",
            "trusted-host": "UV_INSECURE_HOST", "cert": "SSL_CERT_FILE", "constraint": "UV_CONSTRAINT"}  # pip's setting -> uv's variable  # fmt: skip
PYTHONS = "3.10", "3.11", "3.12", "3.13"  # for which TensorFlow exists


def pip_settings():
    "pip's configuration: setting -> value; environment variables win over files."
    told = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    pairs = [line.partition("=")[::2] for line in told.stdout.splitlines() if "=" in line]
    rank = [":env:", "site", "user", "global"]
    pairs.sort(key=lambda pair: -min((i for i, place in enumerate(rank) if pair[0].startswith(place)), default=len(rank)))
    return {key.rpartition(".")[2]: ast.literal_eval(value) for key, value in pairs}


def uv_environ():
    "The environment in which uv finds what pip finds."
    found = {UV_NAMES[key]: " ".join(value.split()) for key, value in pip_settings().items() if key in UV_NAMES}
    if "UV_FIND_LINKS" in found:
        found["UV_FIND_LINKS"] = found["UV_FIND_LINKS"].replace(" ", ",")
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_PYTHON_DOWNLOADS": "never", **found, **os.environ}


def uv(*words, ok=True, **options):
    "What uv prints; it must succeed."
    told = subprocess.run([sys.executable, "-m", "uv", *map(str, words)], capture_output=True, text=True, env=uv_environ(), **options)
    assert told.returncode == 0 or not ok, told.stderr
    return told.stdout + told.stderr


def interpreter(*versions):
    "The first of these Pythons that this machine has, on PATH or from pyenv; without one the test is skipped."
    for version in versions:
        pyenv = os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")
        for path in (shutil.which(f"python{version}"), *sorted(glob.glob(f"{pyenv}/versions/{version}.*/bin/python"))):
            ask = [path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            if path and subprocess.run(ask, capture_output=True, text=True).stdout.strip() == version:
                return path
    pytest.skip(f"no Python {' or '.join(versions)} on this machine")


def build(root, folder):
    "The sdist and the wheel that is built from it, out of a copy of what git tracks: two paths."
    subprocess.run(["git", "clone", "-q", root, folder / "clone"], check=True)
    uv("build", "-q", "-o", folder / "dist", folder / "clone")
    return next((folder / "dist").glob("*.tar.gz")), next((folder / "dist").glob("*.whl"))


def requirements(root):
    "What settings.ini requires: extra -> lines; '' is what is always installed."
    ini = ConfigParser(delimiters=["="], interpolation=None)
    ini.read(root / "settings.ini", encoding="utf-8")
    found = {key.removesuffix("requirements").rstrip("_"): value.strip().splitlines() for key, value in ini["DEFAULT"].items() if key.endswith("requirements")}
    return {**found, "": found[""] + found["training"]}
