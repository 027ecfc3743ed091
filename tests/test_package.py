"""The package as others get it: lint and types clean, complete metadata, a wheel that works elsewhere."""
import json
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from unittest.mock import patch

import numpy as np
import pytest
from installing import build, pip_settings, uv_environ
from packaging.metadata import Metadata


def run(words, **options):
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, **options)


def test_lint(root):
    told = run([sys.executable, "-m", "ruff", "check", "--select", "F,E9,W6", "--no-cache", "digit_recognizer", "tests", "tools", "benchmarks", "setup.py"], cwd=root)
    assert told.returncode == 0, told.stdout


def test_types(root, tmp_path):
    told = run([sys.executable, "-m", "mypy", "--ignore-missing-imports", "--cache-dir", tmp_path, "-p", "digit_recognizer"], cwd=root)
    assert told.returncode == 0, told.stdout
    assert (root / "digit_recognizer/py.typed").exists()


def links(text):
    "The targets of the links outside blocks of code."
    return re.findall(r"\]\(([^()\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def setup_words(root, folder, **changes):
    "What setup.py gives to setuptools, with changed settings."
    for name in ("setup.py", "settings.ini", "README.md"):
        shutil.copy(root / name, folder)
    text = (folder / "settings.ini").read_text(encoding="utf-8")
    for key, value in changes.items():
        text = re.sub(rf"^{key} =.*$", f"{key} = {value}", text, flags=re.M)
    (folder / "settings.ini").write_text(text, encoding="utf-8")
    with patch("setuptools.setup") as setup:
        runpy.run_path(str(folder / "setup.py"))
    return setup.call_args.kwargs


def test_readme_without_an_address(root, tmp_path):
    words = setup_words(root, tmp_path, git_url="")
    assert words["project_urls"] == {} and links(words["long_description"])
    assert all(target.startswith("https://") for target in links(words["long_description"]))
    assert len(words["long_description"].splitlines()) == len((root / "README.md").read_text(encoding="utf-8").splitlines())


def test_readme_with_an_address(root, tmp_path):
    address = "https://example.org/us/digits"
    words = setup_words(root, tmp_path, git_url=f"{address}/", doc_host="https://us.example.org", doc_baseurl="/digits")
    assert words["project_urls"]["Source"] == address and words["project_urls"]["Documentation"] == "https://us.example.org/digits"
    inside = [target.removeprefix(f"{address}/blob/main/") for target in links(words["long_description"]) if target.startswith(address)]
    assert len(inside) > 50 and all((root / target.partition("#")[0]).is_file() for target in inside)
    assert all(target.startswith("https://") for target in links(words["long_description"]))


def test_uv_finds_what_pip_finds(monkeypatch, tmp_path):
    "The variables and files that configure pip configure uv in the tests."
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://in.file/simple\nextra-index-url = https://a/simple\n    https://b/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_FIND_LINKS", "/some/wheels /more/wheels")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    assert pip_settings()["index-url"] == "https://in.file/simple"
    found = uv_environ()
    assert (found["UV_DEFAULT_INDEX"], found["UV_FIND_LINKS"]) == ("https://in.file/simple", "/some/wheels,/more/wheels")
    assert found["UV_INDEX"].split()[-2:] == ["https://a/simple", "https://b/simple"]
    monkeypatch.setenv("PIP_INDEX_URL", "https://in.variable/simple")
    assert uv_environ()["UV_DEFAULT_INDEX"] == "https://in.variable/simple"


@pytest.fixture(scope="session")
def built(root, tmp_path_factory):
    "The sdist, and the wheel that is built from it."
    return build(root, tmp_path_factory.mktemp("built"))


@pytest.mark.index
@pytest.mark.xdist_group("wheel")
def test_sdist_holds_the_repository(built, root):
    with tarfile.open(built[0]) as tar:
        held = {member.name.partition("/")[2] for member in tar.getmembers() if member.isfile()}
    tracked = {name for name in run(["git", "ls-files"], cwd=root).stdout.splitlines() if not name.startswith(".")}
    assert tracked <= held and "nbs/index.ipynb" in held
    made = {name for name in held - tracked if "egg-info" not in name}
    assert made <= {"setup.cfg", "PKG-INFO"}


@pytest.mark.index
@pytest.mark.xdist_group("wheel")
def test_metadata(built):
    with zipfile.ZipFile(built[1]) as wheel:
        names = wheel.namelist()
        text = wheel.read(next(name for name in names if name.endswith(".dist-info/METADATA")))
    found = Metadata.from_email(text, validate=True)
    assert found.license_expression == "Apache-2.0 AND CC-BY-SA-3.0" and found.license_files == ["LICENSE", "NOTICE"]
    assert not [c for c in found.classifiers if c.startswith("License")] and "Framework :: Jupyter" in found.classifiers
    assert str(found.requires_python) == ">=3.10" and {"digit_recognizer/py.typed", "digit_recognizer/__init__.pyi"} <= set(names)
    assert not [name for name in names if not name.startswith("digit_recognizer")]
    assert {"training", "litert", "kaggle", "dev"} <= {*found.provides_extra}


@pytest.fixture(scope="session")
def user(built, tmp_path_factory):
    "A user elsewhere: an environment with the wheel and LiteRT; calls the program in a folder of its own."
    tmp = tmp_path_factory.mktemp("user")
    venv.create(tmp / "env", with_pip=True)
    told = run([tmp / "env/bin/pip", "install", "-q", f"{built[1]}[litert]"])
    assert told.returncode == 0, told.stderr

    def call(*words, code=0, program="digit_recognizer"):
        told = run([tmp / "env/bin" / program, *words], cwd=tmp, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp), "XDG_CACHE_HOME": str(tmp / "cache")})
        assert told.returncode == code, told.stderr
        return told.stdout + told.stderr

    call.folder = tmp
    return call


@pytest.mark.slow
@pytest.mark.index
@pytest.mark.xdist_group("wheel")
def test_wheel_used_elsewhere(user, root):
    here = user.folder
    assert str(here) in user("-c", "import digit_recognizer; print(digit_recognizer.__file__)", program="python")
    user("run", "--recipe", "tiny", "--quiet")
    report = (here / "runs/tiny/report.html").read_text(encoding="utf-8")
    assert all(f">{title}<" in report for title in ("Calibration", "Glossary", "Reproduce this run"))
    user("check", "runs/tiny/submission.csv")
    user("export-csv", "kaggle")
    user("run", "--recipe", "tiny", "--quiet", "--data", "./kaggle", "--out", "runs/from-csv", "--no-report")
    user("compare", "runs/tiny", "runs/from-csv")
    user("verify", "runs/tiny")
    submission = (here / "runs/tiny/submission.csv").read_bytes()
    assert (here / "runs/from-csv/submission.csv").read_bytes() == submission
    user("predict", "runs/tiny", "kaggle/test.csv", "--out", "again.csv", "--quiet")
    assert (here / "again.csv").read_bytes() == submission
    user("export", "runs/tiny")
    user("predict", "runs/tiny", "kaggle/test.csv", "--out", "lite.csv", "--quiet")
    assert (here / "lite.csv").read_bytes() == submission
    user("export", "runs/tiny", "--to", "web")
    shutil.move(here / "kaggle", here / "digits")
    assert "install them with: pip install 'kagglehub<1.1,>=1.0' 'kagglesdk<0.2,>=0.1.20'" in user("run", "--data", "kaggle", code=2)


@pytest.mark.slow
@pytest.mark.index
@pytest.mark.xdist_group("wheel")
def test_wheel_reads_pictures(user, root):
    user("read", root / "nbs/samples/sheet.png", "--csv", "sheet.csv", "--annotate", "read", "--quiet")
    digits = [line.split(",")[3] for line in (user.folder / "sheet.csv").read_text().splitlines()[1:]]
    assert "".join(digits) == "".join((root / "nbs/samples/sheet.txt").read_text().split())
    assert (user.folder / "read/sheet-read.png").stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["time_to_accuracy", "ladder", "ideas", "cleaning", "accuracy", "rest", "scale", "forms", "whole_numbers", "touching", "rejector"])
def test_small_benchmarks_run(benchmark, root, tmp_path):
    told = run([sys.executable, f"benchmarks/{benchmark}.py", "--small", "--out", tmp_path / f"{benchmark}.json"], cwd=root)
    assert told.returncode == 0, told.stderr[-3000:]
    assert (tmp_path / f"{benchmark}.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["writers", "shift"])
def test_small_benchmarks_of_writers_run(benchmark, root, tmp_path):
    "With made-up writers, because the real ones are not part of the repository."
    rng = np.random.default_rng(0)
    made_up = {f"{a}_{part}": rng.integers(0, 5 if a == "series" else 800, n) for part, n in (("train", 60000), ("test", 10000)) for a in ("writer", "series")}
    np.savez(tmp_path / "writers.npz", **made_up)
    told = run([sys.executable, f"benchmarks/{benchmark}.py", "--small", "--writers", tmp_path / "writers.npz", "--out", tmp_path / "out.json"], cwd=root)
    assert told.returncode == 0, told.stderr[-3000:]
    assert (tmp_path / "out.json").exists()


@pytest.mark.slow
def test_small_benchmark_of_audit_runs(root, tmp_path):
    "With made-up verdicts, because the real ones are not part of the repository."
    made_up = [{"test_row": row, "given": row % 4, "guessed": 2, "neither": 1} for row in range(0, 10_000, 20)]
    (tmp_path / "verdicts.json").write_text(json.dumps(made_up))
    told = run([sys.executable, "benchmarks/audit.py", "--small", "--verdicts", tmp_path / "verdicts.json", "--out", tmp_path / "out.json"], cwd=root)
    assert told.returncode == 0, told.stderr[-3000:]
    assert json.loads((tmp_path / "out.json").read_text())["judged"]["overturned"] > 0
