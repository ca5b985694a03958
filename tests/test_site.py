"""The API pages of the site list every public name. The site itself is built by CI, where a warning is an error."""

from __future__ import annotations

import ast
import re
import runpy
from importlib import import_module
from pathlib import Path

import pytest

import twostream
from twostream.options import read_table
from twostream.options.help import values_of

ROOT = Path(__file__).parents[1]
LISTED = {
    name for page in (ROOT / "docs/api").glob("*.md") for name in re.findall(r"^::: (\S+)", page.read_text(), re.M)
}
FAMILIES = ("attention", "backbone", "fusion", "pooling", "temporal")


def is_shown(name: str) -> bool:
    """Whether a page names it, as `twostream.…` if it is there, too, or its module, whose `__all__` has it.

    A function named as its own module has to be named by itself: there `module.name` is the module.
    """
    module, _, last = name.rpartition(".")
    if (ROOT / f"{name.replace('.', '/')}.py").is_file():
        return f"{name}.{last}" in LISTED
    return bool({name, f"twostream.{last}"} & LISTED) or (module in LISTED and last in import_module(module).__all__)


def options() -> list[str]:
    """What conf/ makes data, layers and optimizers of."""
    targets = {
        name for path in (ROOT / "conf").rglob("*.yaml") for name in re.findall(r"_target_: (\S+)", path.read_text())
    }
    return sorted(name for name in targets if re.match(r"twostream\.(data|models|training\.optimizers)\.", name))


def test_every_public_name_is_shown() -> None:
    assert [name for name in twostream.__all__ if f"twostream.{name}" not in LISTED] == []
    assert {"twostream.metrics.scores.Scores", "twostream.metrics.score_fusion.fuse"} <= LISTED


@pytest.mark.parametrize("module", [*(f"twostream.models.{family}" for family in FAMILIES), "twostream.metrics"])
def test_every_name_of_a_module_is_shown(module: str) -> None:
    assert module in LISTED
    assert [name for name in import_module(module).__all__ if not is_shown(f"{module}.{name}")] == []


def test_what_an_option_makes_is_shown() -> None:
    assert len(options()) > 50
    assert [name for name in options() if not is_shown(name)] == []


def test_what_the_script_imports_is_shown() -> None:
    [script] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)
    imports = [node for node in ast.walk(ast.parse(script)) if isinstance(node, ast.ImportFrom)]
    names = [f"{node.module}.{alias.name}" for node in imports for alias in node.names]
    assert len(names) > 8
    assert [name for name in names if not is_shown(name)] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_a_page_is_read_in_one_go(page: Path) -> None:
    words = [word for word in page.read_text().split() if re.search(r"\w", word)]  # without the bars of tables
    assert len(words) <= 1500, "one question a page: cut it, or shorten it"


def test_every_option_and_value_is_on_a_page() -> None:
    made = runpy.run_path(str(ROOT / "docs/build_options.py"))
    groups, plain, of_options = (made[name]() for name in ("options", "plain_values", "values_of_options"))
    files = list((ROOT / "conf").glob("*/*.yaml"))
    assert len(files) > 100
    assert [path for path in files if f"`{path.parent.name}={path.stem}`" not in groups] == []
    table = read_table()
    assert [value.name for key in table[""].values() for value in values_of(key) if value.name not in plain] == []
    ends = {
        value.name for target, values in table.items() if target for key in values.values() for value in values_of(key)
    }
    assert [name for name in ends if not re.search(rf"[.]{re.escape(name)}[=`]", of_options)] == []
    assert "| `label_smoothing=0.0` |" in plain
    assert "| `fusion.init=sum` |" in of_options
