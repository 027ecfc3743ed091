"""The package as others get it: in step with its notebooks, lint and types clean, a wheel that works elsewhere."""
import shutil
import subprocess
import sys
import venv

import pytest


def run(words, **options):
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, **options)


def test_lint(root):
    told = run([sys.executable, "-m", "ruff", "check", "--select", "F,E9,W6", "--no-cache", "digit_recognizer", "tests", "tools", "benchmarks", "setup.py"], cwd=root)
    assert told.returncode == 0, told.stdout


def test_types(root, tmp_path):
    told = run([sys.executable, "-m", "mypy", "--ignore-missing-imports", "--cache-dir", tmp_path, "-p", "digit_recognizer"], cwd=root)
    assert told.returncode == 0, told.stdout
    assert (root / "digit_recognizer/py.typed").exists()


@pytest.fixture(scope="session")
def wheel(root, tmp_path_factory):
    "The wheel, built from a copy of what git tracks."
    tmp = tmp_path_factory.mktemp("wheel")
    clone = run(["git", "clone", "-q", root, tmp / "clone"])
    assert clone.returncode == 0, clone.stderr
    told = run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp / "dist", tmp / "clone"])
    assert told.returncode == 0, told.stderr
    return next((tmp / "dist").glob("*.whl"))


@pytest.fixture(scope="session")
def user(wheel, tmp_path_factory):
    "A user elsewhere: an environment with the wheel and LiteRT; calls the program in a folder of its own."
    tmp = tmp_path_factory.mktemp("user")
    venv.create(tmp / "env", with_pip=True)
    told = run([tmp / "env/bin/pip", "install", "-q", f"{wheel}[litert]"])
    assert told.returncode == 0, told.stderr

    def call(*words, code=0, program="digit_recognizer"):
        told = run([tmp / "env/bin" / program, *words], cwd=tmp, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp), "XDG_CACHE_HOME": str(tmp / "cache")})
        assert told.returncode == code, told.stderr
        return told.stdout + told.stderr

    call.folder = tmp
    return call


@pytest.mark.slow
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
    assert "pip install 'digit_recognizer[kaggle]'" in user("run", "--data", "kaggle", code=2)


@pytest.mark.slow
@pytest.mark.xdist_group("wheel")
def test_wheel_reads_pictures(user, root):
    user("read", root / "nbs/samples/sheet.png", "--csv", "sheet.csv", "--annotate", "read", "--quiet")
    digits = [line.split(",")[3] for line in (user.folder / "sheet.csv").read_text().splitlines()[1:]]
    assert "".join(digits) == "".join((root / "nbs/samples/sheet.txt").read_text().split())
    assert (user.folder / "read/sheet-read.png").stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["time_to_accuracy", "accuracy", "rest", "scale"])
def test_small_benchmarks_run(benchmark, root, tmp_path):
    told = run([sys.executable, f"benchmarks/{benchmark}.py", "--small", "--out", tmp_path / f"{benchmark}.json"], cwd=root)
    assert told.returncode == 0, told.stderr[-3000:]
    assert (tmp_path / f"{benchmark}.json").exists()
