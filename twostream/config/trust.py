"""Decides whose code a configuration may name: that of twostream's options, and of packages that the user trusts.

A package is trusted because the user names it (`--trust`, `twostream.load(…, trust=[…])`), or because it is installed
here as a plug-in, under the entry-point group `twostream.plugins`. A file cannot make its own code trusted.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import keyword
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.utils import get_object

from twostream.files.errors import one_line

PLUGINS = "twostream.plugins"  # entry points of this group name packages: mylab = "mylab"
TYPED_IN = "TWOSTREAM_TYPED_IN"  # environment variable: the folder that resume= has left for that of the run
NEVER = frozenset({*sys.stdlib_module_names, "twostream"})  # conf/ allows names of twostream one by one


def check_trust(trust: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of packages. Raises ValueError for what is no such name, and for Python's own packages."""
    if isinstance(trust, str):
        raise ValueError(f"trust={trust!r}: name the packages in a list, [{trust!r}]")
    for name in trust:
        parts = name.split(".")
        if not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts) or parts[0] in NEVER:
            raise ValueError(f"trust {name!r}: name a package or module of your own, such as mylab")
    return tuple(trust)


@cache
def plugin_packages() -> tuple[str, ...]:
    """Returns the packages that are installed as plug-ins, without importing them."""
    return tuple(dict.fromkeys(point.module for point in importlib.metadata.entry_points(group=PLUGINS)))


def plugin_folders() -> Iterator[tuple[str, Path]]:
    """Yields (package, its folder `conf`) for the plug-ins that have one."""
    for package in plugin_packages():
        spec = importlib.util.find_spec(package.partition(".")[0])
        for place in (spec and spec.submodule_search_locations) or ():
            folder = Path(place, *package.split(".")[1:], "conf")
            if folder.is_dir():
                yield package, folder


class PluginSearchPath(SearchPathPlugin):
    """Makes Hydra look for options in the folders of plug-ins, after conf/."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for package, folder in plugin_folders():
            search_path.append(f"plug-in {package}", f"file://{folder}")


def search_plugins() -> None:
    """Makes Hydra search the folders of plug-ins from now on. Only code that composes calls it: it takes time."""
    if PluginSearchPath not in Plugins.instance().discover(SearchPathPlugin):
        Plugins.instance().register(PluginSearchPath)


def find_own_code(config: Any) -> None:
    """Makes Python search the current folder for packages that a configuration names.

    Call it only for packages that are the user's own, or trusted. The folder is searched last, and only if a package is
    not installed, so that files that happen to lie there replace nothing.
    """
    plugin_packages()  # first: files in the folder must not make it a plug-in
    here = os.environ.get(TYPED_IN) or os.getcwd()
    packages = {name.partition(".")[0] for name in targets(config)}
    if here not in sys.path and not all(is_installed(package) for package in packages):
        sys.path.append(here)


def is_installed(package: str) -> bool:
    """Whether a package is installed; does not import it."""
    try:
        return package in sys.modules or importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # not the name of a package
        return True


def targets(config: Any) -> Iterator[str]:
    """Yields every `_target_` anywhere in a configuration.

    >>> list(targets({"a": {"_target_": "x.Y", "b": [{"_target_": "z"}]}}))
    ['x.Y', 'z']
    """
    if isinstance(config, dict):
        if "_target_" in config:
            yield str(config["_target_"])
        config = list(config.values())
    for value in config if isinstance(config, list) else ():
        yield from targets(value)


def is_trusted(name: str, trust: Collection[str]) -> bool:
    """Whether code of this name belongs to a trusted package; imports the package to find out.

    `mylab.os.system` does not belong to mylab. Raises ImportError if the code cannot be imported.
    """
    packages = [package for package in (*trust, *plugin_packages()) if is_below(name, package)]
    if not packages:
        return False
    find_own_code({"_target_": name})
    try:
        found: Any = get_object(name)
    except Exception as error:  # Hydra's, or whatever the package does when it is imported
        raise ImportError(f"{name}: cannot be imported ({one_line(error.__cause__ or error)})") from error
    home = getattr(found, "__module__", None)
    return callable(found) and isinstance(home, str) and any(is_below(home, package) for package in packages)


def code_of(part: Any) -> Any:
    """Returns the class or function that a part of a configuration is built by. Call it only where it will be built."""
    return get_object(part["_target_"])


def is_below(name: str, package: str) -> bool:
    """Whether a dotted name is a package, or inside of it.

    >>> is_below("mylab.fusion.Gated", "mylab"), is_below("mylab2.Gated", "mylab")
    (True, False)
    """
    return name == package or name.startswith(f"{package}.")


def how_to_trust(name: str) -> str:
    """Says how to trust code that was refused; "" for code that cannot be trusted.

    >>> how_to_trust("os.system")
    ''
    """
    package = name.partition(".")[0]
    if package in NEVER or not package.isidentifier():
        return ""
    return f"; if it is your own, trust it: --trust {package}, or twostream.load(…, trust=[{package!r}])"
