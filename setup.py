"""Build from settings.ini, which nbdev reads too: change things there, not here."""
import re
from configparser import ConfigParser
from pathlib import Path

import setuptools

root = Path(__file__).resolve().parent
ini = ConfigParser(delimiters=["="], interpolation=None)
ini.read(root / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]
repository, branch = cfg["git_url"].rstrip("/"), cfg["branch"]


def lines(name):
    "The lines of a setting: requirements, scripts or classifiers."
    return cfg[name].strip().splitlines()


def link(found):
    "A link of the README as PyPI can follow it: into the repository, or plain text where its address is not known."
    words, target = found.groups()
    if "://" in target:
        return found[0]
    path = f"README.md{target}" if target.startswith("#") else target
    return f"[{words}]({repository}/blob/{branch}/{path})" if repository else words


def readme():
    "The README with links that work on PyPI; its blocks of code stay as they are."
    parts = re.split(r"(^```.*?^```$)", (root / "README.md").read_text(encoding="utf-8"), flags=re.M | re.S)
    return "".join(part if part.startswith("```") else re.sub(r"\[([^][]*)\]\(([^()\s]+)\)", link, part) for part in parts)


urls = {"Source": repository, "Issues": f"{repository}/issues", "Changelog": f"{repository}/blob/{branch}/CHANGELOG.md"}
if cfg["doc_host"]:
    urls["Documentation"] = cfg["doc_host"] + cfg["doc_baseurl"]
extras = {name.removesuffix("_requirements"): lines(name) for name in cfg if name.endswith("_requirements")}
extras["dev"] = sum(extras.values(), [])
spdx = "license_expression" if int(setuptools.__version__.split(".")[0]) >= 77 else "license"

setuptools.setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=readme(),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    license_files=["LICENSE", "NOTICE"],
    keywords=cfg["keywords"].replace(" ", ","),
    classifiers=lines("classifiers"),
    project_urls=urls if repository else {},
    packages=setuptools.find_packages(include=[cfg["lib_path"], cfg["lib_path"] + ".*"]),
    package_data={cfg["lib_path"]: ["py.typed", "__init__.pyi", "mnist.npz", "images/*.npz", "reader/*", "rejector/*", "web/assets/*", "analysis/*.jinja"]},
    python_requires=f">={cfg['min_python']}",
    install_requires=lines("requirements") + extras["training"],
    extras_require=extras,
    entry_points={"console_scripts": lines("console_scripts"), "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]},
    zip_safe=False,
    **{spdx: "Apache-2.0 AND CC-BY-SA-3.0"},
)
