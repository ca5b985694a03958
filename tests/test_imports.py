"""The walls of CONTRIBUTING.md: who may import what."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import twostream

PACKAGE = Path(twostream.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
FAMILIES = ("backbone", "fusion", "temporal", "attention", "pooling")


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, anywhere in it."""
    package = ["twostream", *path.relative_to(PACKAGE).parts[:-1]]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, node.module] if node.module else base)
            names |= {stem} | {f"{stem}.{alias.name}" for alias in node.names}
    return names


def inside(names: set[str], *modules: str) -> set[str]:
    return {name for name in names if any(name == m or name.startswith(f"{m}.") for m in modules)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_walls(path: Path) -> None:
    names, where = imports(path), path.relative_to(PACKAGE).as_posix()
    if not where.startswith(("config/", "cli/")):
        assert not inside(names, "hydra", "omegaconf"), "Hydra lives in train.py, config/ and cli/"
    if not where.startswith(("loggers.py", "report/")):
        assert not inside(names, "wandb")
    if where.startswith("data/"):
        assert not inside(names, "twostream.models", "twostream.training.system", "twostream.config")
    if where.startswith("models/"):
        assert not inside(names, "twostream.data", "twostream.training.system", "twostream.config", "pytorch_lightning")
        family = re.split(r"[/.]", where)[1]
        others = [f"twostream.models.{name}" for name in FAMILIES if name != family]
        assert not inside(names, *others), "families do not know each other"
    if not where.startswith("data/decoding"):
        assert not inside(names, "decord", "torchcodec")
    encoders = ("data/synthetic", "data/film.py", "data/flow_store/encodings", "data/prepare/reencode")
    if not where.startswith(("data/decoding", *encoders)):
        assert not inside(names, "av")


def test_importing_the_package_loads_nothing_heavy() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    assert not [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    code = "import sys, twostream; print(*(name for name in ('torch', 'numpy', 'cv2', 'av') if name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""
