"""The package in the environments of its users: Colab's and Kaggle's packages, the lowest versions, a machine without TensorFlow."""
import json
import re
import shutil
import subprocess
import sys

import pytest
from installing import PYTHONS, build, interpreter, requirements, uv
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LISTS = {"colab-2026-08": "3.13", "kaggle-2026-08": "3.12"}  # a dated list of packages -> its Python
EXTRAS = "kaggle", "dask", "pad", "parquet", "litert", "labels", "pdf", "heic"  # that install beside both lists
SMALL = 350  # megabytes of the small install at most

pytestmark = pytest.mark.xdist_group("environments")


def listed(root, name):
    "The packages of a list: name -> version."
    lines = (root / f"tests/environments/{name}.txt").read_text().split()
    return {canonicalize_name(package): version for package, _, version in (line.partition("==") for line in lines)}


@pytest.mark.parametrize("name", LISTS)
def test_ranges_admit_the_list(name, root):
    have, wanted = listed(root, name), requirements(root)
    lines = [Requirement(line) for extra in ("", *EXTRAS) for line in wanted[extra]]
    outside = [str(r) for r in lines if (version := have.get(canonicalize_name(r.name))) and not r.specifier.contains(version)]
    assert not outside


def test_small_list_is_made_from_the_settings(root):
    sys.path.insert(0, str(root / "tools"))
    from small import small

    assert (root / "requirements-small.txt").read_text(encoding="utf-8") == small()


def test_the_error_names_the_pythons_of_the_marker(root):
    from digit_recognizer.core.backend import _TENSORFLOW_EXISTS

    (marker,) = {Requirement(line).marker for line in requirements(root)["training"] if line.startswith(("tensorflow", "keras"))}
    exists = [v for v in (*PYTHONS, "3.14", "3.15") if marker.evaluate({"python_version": v, "sys_platform": "linux"})]
    assert exists == list(PYTHONS) and f"Python {exists[0]} to {exists[-1]}," in _TENSORFLOW_EXISTS
    assert not marker.evaluate({"python_version": "3.12", "sys_platform": "darwin", "platform_machine": "x86_64"})
    assert marker.evaluate({"python_version": "3.12", "sys_platform": "darwin", "platform_machine": "arm64"})


# What follows installs packages


@pytest.fixture(scope="session")
def wheel(root, tmp_path_factory):
    return build(root, tmp_path_factory.mktemp("environments"))[1]


def compile_pins(lines, *words, cwd):
    "The versions that uv chooses for these requirements: name -> version."
    (cwd / "wanted.txt").write_text("\n".join(map(str, lines)))
    told = uv("pip", "compile", "-q", "--no-header", "--no-annotate", *words, "wanted.txt", cwd=cwd)
    return dict(re.findall(r"^([\w.-]+)==(\S+)", told, re.M))


def dry_run(env, *words):
    "What an installation would remove or replace, and what it would add: two sets of names."
    told = uv("pip", "install", "--dry-run", "-p", env, *words)
    return {*re.findall(r"^ [-~] ([\w.-]+)", told, re.M)}, {*re.findall(r"^ \+ ([\w.-]+)", told, re.M)}


@pytest.mark.index
@pytest.mark.parametrize("name", LISTS)
def test_install_changes_nothing(name, root, wheel, tmp_path):
    "Beside all packages of a list and what they need, installing only adds packages that fit."
    python, env = interpreter(LISTS[name]), tmp_path / "env"
    with_extras = f"digit_recognizer[{','.join(EXTRAS)}] @ {wheel.as_uri()}"
    have = compile_pins([f"{k}=={v}" for k, v in listed(root, name).items()], "-p", python, cwd=tmp_path)
    uv("venv", "-q", "-p", python, env)
    uv("pip", "install", "-q", "--no-deps", "-p", env, f"dask=={have['dask']}")  # whole: our extra requires an extra of it
    site = next(env.glob("[Ll]ib/**/site-packages"))
    for package, version in have.items():
        info = site / f"{package.replace('-', '_')}-{version}.dist-info"
        if not info.exists():
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
            (info / "RECORD").touch()
    assert dry_run(env, wheel) == (set(), {"digit-recognizer", "msgspec"})
    changed, added = dry_run(env, with_extras)
    assert not changed and not added & {*have} and {"digit-recognizer", "distributed"} < added
    both = compile_pins([*(f"{k}=={v}" for k, v in have.items()), with_extras], "-p", python, cwd=tmp_path)
    assert {k: both[k] for k in have} == have


@pytest.mark.index
@pytest.mark.parametrize(
    "version, platform",
    [*((version, "linux") for version in (*PYTHONS, "3.14")), *((v, p) for v in ("3.13", "3.14") for p in ("windows", "aarch64-apple-darwin", "x86_64-apple-darwin"))],
)
def test_every_python_and_system_resolves(version, platform, wheel, tmp_path):
    only_wheels = "--only-binary", ":all:", "--no-binary", "cufflinks"
    chosen = compile_pins([f"digit_recognizer @ {wheel.as_uri()}"], "--python-version", version, "--python-platform", platform, *only_wheels, cwd=tmp_path)
    without = version == "3.14" or platform == "x86_64-apple-darwin"
    assert {"tensorflow", "keras"} & {*chosen} == (set() if without else {"tensorflow", "keras"})
    assert {"numpy", "msgspec", "scikit-learn"} < {*chosen}


def install(folder, python, *words):
    "A program of a new environment with these packages: a function that calls it in `folder`."
    uv("venv", "-q", "-p", python, folder / "env")
    uv("pip", "install", "-q", "-p", folder / "env", *words)
    scripts = next(p for p in (folder / "env/bin", folder / "env/Scripts") if p.is_dir())

    def call(*words, code=0, program="digit_recognizer"):
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
        told = subprocess.run([scripts / program, *map(str, words)], cwd=folder, env=environ, capture_output=True, text=True)
        assert told.returncode == code, told.stderr
        return told.stdout + told.stderr

    call.folder = folder
    return call


@pytest.fixture(scope="session")
def lowest(root, wheel, tmp_path_factory):
    "The lowest versions that settings.ini allows, on the oldest Python of this machine, with a run of the recipe tiny."
    folder = tmp_path_factory.mktemp("lowest")
    (folder / "lowest.txt").write_text("\n".join(requirements(root)[""]))
    call = install(folder, interpreter(*PYTHONS), "--resolution", "lowest-direct", "-r", folder / "lowest.txt", wheel)
    call("run", "--recipe", "tiny", "--quiet")
    return call


@pytest.mark.slow
@pytest.mark.index
def test_lowest_versions(lowest, root):
    scores = json.loads((lowest.folder / "runs/tiny/run.json").read_text())
    versions = {r.name: min(s.version for s in r.specifier if s.operator == ">=") for r in map(Requirement, requirements(root)[""]) if r.name in ("tensorflow", "keras")}
    assert {k: ".".join(scores["environment"][k].split(".")[:2]) for k in versions} == versions
    check_reading(lowest, root)
    lowest("export-csv", "digits")
    lowest("predict", "runs/tiny", "digits/test.csv", "--out", "again.csv", "--quiet")
    assert (lowest.folder / "again.csv").read_bytes() == (lowest.folder / "runs/tiny/submission.csv").read_bytes()


def check_reading(call, root):
    "The sample sheet is read without a mistake."
    call("read", root / "nbs/samples/sheet.png", "--csv", "sheet.csv", "--quiet")
    digits = [line.split(",")[3] for line in (call.folder / "sheet.csv").read_text().splitlines()[1:]]
    assert "".join(digits) == "".join((root / "nbs/samples/sheet.txt").read_text().split())


@pytest.mark.slow
@pytest.mark.index
def test_a_run_with_the_versions_of_colab(wheel, root, tmp_path):
    "What our package needs, in Colab's versions: train, read, predict."
    name = "colab-2026-08"
    call = install(tmp_path, interpreter(LISTS[name]), "-c", root / f"tests/environments/{name}.txt", wheel)
    call("run", "--recipe", "tiny", "--quiet", "--no-report")
    assert json.loads((tmp_path / "runs/tiny/run.json").read_text())["environment"]["tensorflow"] == listed(root, name)["tensorflow"]
    check_reading(call, root)
    call("export-csv", "digits")
    call("predict", "runs/tiny", "digits/test.csv", "--out", "again.csv", "--quiet")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "runs/tiny/submission.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.index
def test_small_install(lowest, wheel, root, tmp_path):
    "Without TensorFlow: reading, predicting and checking work, and everything else says in one line what is missing."
    call = install(tmp_path, interpreter(*reversed(PYTHONS)), "-r", root / "requirements-small.txt")
    uv("pip", "install", "-q", "--no-deps", "-p", tmp_path / "env", wheel)
    assert sum(p.stat().st_size for p in (tmp_path / "env").rglob("*") if p.is_file()) < SMALL * 2**20
    check_reading(call, root)
    call("export-csv", "digits")
    run = lowest.folder / "runs/tiny"
    call("check", run / "submission.csv")
    call("predict", run, "digits/test.csv", "--out", "labels.csv", "--quiet")
    assert (tmp_path / "labels.csv").read_bytes() == (run / "submission.csv").read_bytes()
    assert "No evidence" in call("compare", run, run)
    assert "changed" not in call("verify", run)
    shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("report.html"))
    for words in (["run", "--recipe", "tiny", "--quiet"], ["run", "--members", "2"], ["run", "--minutes", "1"], ["sweep"], ["report", "copy"], ["export", run, "--to", "savedmodel"]):
        (line,) = [line for line in call(*words, code=2).splitlines() if line.startswith(("error", "Traceback"))]
        assert re.match("error: .*(TensorFlow is needed for this|this command needs)", line) and "pip install" in line
    assert not list(tmp_path.glob("runs/*/*.keras"))
