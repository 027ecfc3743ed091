"""Build from settings.ini, which nbdev reads too: change things there, not here."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).resolve().parent
ini = ConfigParser(delimiters=["="], interpolation=None)
ini.read(root / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]
requires, scripts = (cfg[k].split() for k in ("requirements", "console_scripts"))
extras = {k.removesuffix("_requirements"): v.split() for k, v in cfg.items() if k.endswith("_requirements")}
extras["dev"] = sum(extras.values(), [])

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(root / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    license="Apache-2.0 (code), CC-BY-SA-3.0 (the embedded MNIST digits)",
    license_files=["LICENSE", "NOTICE"],
    keywords=cfg["keywords"],
    packages=find_packages(include=[cfg["lib_path"], cfg["lib_path"] + ".*"]),
    package_data={cfg["lib_path"]: ["py.typed", "mnist.npz", "reader/*", "web/assets/*", "analysis/*.jinja"]},
    python_requires=f">={cfg['min_python']},<3.14",
    install_requires=requires,
    extras_require=extras,
    entry_points={"console_scripts": scripts, "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]},
    zip_safe=False,
)
