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
FLOORS = (  # from the top; rooms of one floor do not know each other
    ("cli",),
    ("train", "evaluation", "prediction"),
    ("launch", "export"),
    ("config",),
    ("probe", "explain"),
    ("report",),
    ("training",),
    ("metrics",),
    ("data", "models"),
    ("runs",),
    ("options",),
    ("files",),
)
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
    if not where.startswith(("config/", "launch/", "cli/", "train.py")):
        assert not inside(names, "hydra", "omegaconf"), "Hydra lives in config/, launch/, cli/ and train.py"
    if not where.startswith(("training/loggers.py", "report/")):
        assert not inside(names, "wandb")
    if where != "prediction/demo.py":
        assert not inside(names, "gradio", "fastapi", "uvicorn", "pandas")
    if where.startswith("models/"):
        family = re.split(r"[/.]", where)[1]
        others = [f"twostream.models.{name}" for name in FAMILIES if name != family]
        assert not inside(names, "pytorch_lightning", *others), "families do not know each other"
    if not where.startswith("data/decoding"):
        assert not inside(names, "decord", "torchcodec")
    encoders = ("sources/moving_patterns", "video_writer.py", "storage/flow_store/encodings", "prepare/reencode")
    if not where.startswith(("data/decoding", *(f"data/{name}" for name in encoders))):
        assert not inside(names, "av")


def test_imports_go_down_only() -> None:
    """Of a room, what lies in it and in those below; so there is no circle."""
    upwards = [f"{one} -> {other}" for one, other in sorted(arrows()) if floor(other) >= floor(one)]
    assert not upwards, "\n".join(upwards)


def test_every_room_has_a_floor() -> None:
    top = {
        path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))
    }
    assert top - {"__pycache__", "__init__"} == {room for rooms in FLOORS for room in rooms}


def arrows() -> set[tuple[str, str]]:
    """(room, another that it imports)"""
    found = set()
    for path in MODULES:
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name in imports(path):
            package, _, other = name.partition(".")
            other = other.partition(".")[0]
            if package == "twostream" and other not in ("", room) and room != "__init__":
                found.add((room, other))
    return {(one, other) for one, other in found if any(other in rooms for rooms in FLOORS)}


def floor(room: str) -> int:
    """Counted from the top."""
    return -next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def test_importing_the_package_loads_nothing_heavy() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    assert not [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    code = "import sys, twostream; print(*(name for name in ('torch', 'numpy', 'cv2', 'av') if name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


if __name__ == "__main__":  # prints the plan of the house: rooms from the top, and what each imports
    for rooms in FLOORS:
        for room in rooms:
            print(f"{room:<12}-> {' '.join(sorted(other for one, other in arrows() if one == room))}")
