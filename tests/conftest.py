"""What several tests share: options, the folder of the repository, the digits, also as CSV files, and the model that reads pictures."""
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser):
    parser.addoption("--screens", type=Path, help="a folder for screenshots of the pages")
    parser.addoption("--moments", type=int, default=6, help="how many runs test_kill.py kills")
    parser.addoption("--examples", type=int, default=2000, help="how many tables test_mangle.py mangles")
    parser.addoption("--index", action="store_true", help="also run the tests that install packages from pip's package index")


def pytest_configure(config):
    for marker in (
        "slow: takes more than half a minute",
        "browser: needs Chromium",
        "cluster: starts Dask workers",
        "index: installs packages from pip's package index; skipped without --index",
    ):
        config.addinivalue_line("markers", marker)


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--index"):
        for item in items:
            if item.get_closest_marker("index"):
                item.add_marker(pytest.mark.skip(reason="needs the package index: --index"))


@pytest.fixture(scope="session")
def root():
    "The folder of the repository."
    return ROOT


@pytest.fixture(scope="session")
def shared(root):
    "Data that may be tested with but not copied, in a folder beside the repository; without it their tests are skipped."
    found = root.parent / "shared"
    if not found.is_dir():
        pytest.skip("the folder of shared data is not here")
    return found


@pytest.fixture(scope="session")
def cases(shared):
    "Small inputs that once failed."
    return shared / "cases"


@pytest.fixture(scope="session")
def digits():
    "The embedded digits."
    from digit_recognizer.data import load_embedded

    return load_embedded()


@pytest.fixture(scope="session")
def model():
    "The shipped model, as `read` uses it where TensorFlow is installed."
    from digit_recognizer.runs.export import fastest_model
    from digit_recognizer.runs.folder import pretrained_run

    return fastest_model(pretrained_run())


@pytest.fixture(scope="session")
def csv_digits(tmp_path_factory):
    "The first 3,000 labelled and 3,000 held-out digits, as Kaggle's CSV files: a folder."
    from digit_recognizer.data import export_csv, load_digits, take_digits

    return export_csv(take_digits(load_digits(), 3000), tmp_path_factory.mktemp("digits") / "kaggle")
