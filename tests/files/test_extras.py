"""A missing extra is installed by the command that fits how the program is: a clone, or a wheel."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import twostream
from twostream.files.extras import install, missing_extra

PACKAGE = Path(twostream.__file__).parent
CLONE = PACKAGE.parent


def clone(folder: Path) -> Path:
    """A folder that looks like a clone, which `pip install -e` leaves in its place."""
    (folder / "twostream").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    return folder


def test_in_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = clone(tmp_path / "my clone")
    monkeypatch.chdir(here)
    assert install("onnx", here / "twostream") == 'pip install -e ".[onnx]" -c constraints.txt'
    monkeypatch.chdir(tmp_path)
    told = install("onnx", here / "twostream")
    assert told == f"pip install -e '{here}[onnx]' -c '{here}/constraints.txt'"


def test_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files lie among other packages: nothing beside them is ours, wherever the command is typed."""
    packages = tmp_path / "lib" / "site-packages" / "twostream"
    packages.mkdir(parents=True)
    monkeypatch.chdir(clone(tmp_path / "clone"))
    assert install("onnx", packages) == 'pip install "twostream[onnx]"'


def test_as_installed_by_pip(tmp_path: Path) -> None:
    """The files of the package as an editable install and a wheel place them, found by Python itself."""
    packages = tmp_path / "site-packages"
    copied = packages / "twostream" / "files"
    copied.mkdir(parents=True)
    for name in ("__init__.py", "files/__init__.py", "files/extras.py"):
        (packages / "twostream" / name).write_text((PACKAGE / name).read_text())
    code = "from twostream.files.extras import install; print(install('h5'))"
    for place, told in (
        (packages, 'pip install "twostream[h5]"'),
        (CLONE, f"pip install -e '{CLONE}[h5]' -c {CLONE}/constraints.txt"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(place)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == told + "\n"


def test_the_error_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CLONE)
    told = 'pip install -e ".[h5]" -c constraints.txt'
    assert str(missing_extra("--format h5", "h5py", "h5")) == f"--format h5 needs h5py, which is not installed: {told}"
    assert str(missing_extra("a", "b", "h5", "no c")) == f"a needs b (no c): {told}"


def test_every_message_about_an_extra_comes_from_here_and_names_one() -> None:
    [section] = re.findall(r"optional-dependencies\]\n(.*?)\n\[", (CLONE / "pyproject.toml").read_text(), re.S)
    extras = {*re.findall(r"^(\w+) = ", section, re.M)}
    named = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                assert "twostream[" not in node.value or path.name == "extras.py", path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = {"install": 0, "missing_extra": 2}.get(node.func.id)
                if place is not None and isinstance(node.args[place], ast.Constant):
                    named.add(node.args[place].value)
    assert named <= extras
    assert {"codec", "h5", "hub", "onnx", "ray", "tensorboard", "timm"} <= named
