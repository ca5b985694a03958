"""Whose code a configuration may name: that of twostream's options, and of packages that the user trusts.

A package is trusted because the user names it (`--trust`, `twostream.load(…, trust=[…])`), or because it is installed
here as a plug-in, under the entry-point group `twostream.plugins`. What a file says of itself never counts.
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

PLUGINS = "twostream.plugins"  # entry points of this group name packages: mylab = "mylab"
TYPED_IN = "TWOSTREAM_TYPED_IN"  # in the environment where resume= has changed the folder: the one before
NEVER = frozenset({*sys.stdlib_module_names, "twostream"})  # ours are allowed one by one, by conf/


def check_trust(trust: Sequence[str]) -> tuple[str, ...]:
    """The names of packages. Raises ValueError for what is no name, and for Python's own packages."""
    if isinstance(trust, str):
        raise ValueError(f"trust={trust!r}: name the packages in a list, [{trust!r}]")
    for name in trust:
        parts = name.split(".")
        if not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts) or parts[0] in NEVER:
            raise ValueError(f"trust {name!r}: name a package or module of your own, such as mylab")
    return tuple(trust)


@cache
def plugin_packages() -> tuple[str, ...]:
    """The packages that are installed as plug-ins; none of them is imported."""
    return tuple(dict.fromkeys(point.module for point in importlib.metadata.entry_points(group=PLUGINS)))


def plugin_folders() -> Iterator[tuple[str, Path]]:
    """(package, its folder `conf`) of the plug-ins that have one."""
    for package in plugin_packages():
        spec = importlib.util.find_spec(package.partition(".")[0])
        for place in (spec and spec.submodule_search_locations) or ():
            folder = Path(place, *package.split(".")[1:], "conf")
            if folder.is_dir():
                yield package, folder


class PluginSearchPath(SearchPathPlugin):
    """Has Hydra look into the plug-ins' folders for options, after conf/."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for package, folder in plugin_folders():
            search_path.append(f"plug-in {package}", f"file://{folder}")


def search_plugins() -> None:
    """From here on Hydra looks into the plug-ins' folders; done by who composes, for Hydra's own list takes time."""
    if PluginSearchPath not in Plugins.instance().discover(SearchPathPlugin):
        Plugins.instance().register(PluginSearchPath)


def find_own_code(config: Any) -> None:
    """Let packages that a configuration names be found in the current folder, by every command.

    They have to be the user's own, or trusted. The folder comes behind everything installed, and only where a package
    is not: what happens to lie in a folder takes the place of nothing.
    """
    plugin_packages()  # before: a folder's files must not make it a plug-in
    here = os.environ.get(TYPED_IN) or os.getcwd()
    packages = {name.partition(".")[0] for name in targets(config)}
    if here not in sys.path and not all(is_installed(package) for package in packages):
        sys.path.append(here)


def is_installed(package: str) -> bool:
    """Whether a package is there; it is not imported."""
    try:
        return package in sys.modules or importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # no name of a package
        return True


def targets(config: Any) -> Iterator[str]:
    """Every `_target_` anywhere in a configuration.

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
    """Whether code of this name may be used, being that of a trusted package; it is imported to find out.

    `mylab.os.system` is not the code of mylab. Raises ImportError where the package does not have it.
    """
    packages = [package for package in (*trust, *plugin_packages()) if is_below(name, package)]
    if not packages:
        return False
    find_own_code({"_target_": name})
    try:
        found: Any = get_object(name)
    except Exception as error:  # Hydra's, or whatever the package does when it is imported
        reason = " ".join(str(error.__cause__ or error).split())
        raise ImportError(f"{name}: cannot be imported ({reason})") from error
    home = getattr(found, "__module__", None)
    return callable(found) and isinstance(home, str) and any(is_below(home, package) for package in packages)


def is_below(name: str, package: str) -> bool:
    """
    >>> is_below("mylab.fusion.Gated", "mylab"), is_below("mylab2.Gated", "mylab")
    (True, False)
    """
    return name == package or name.startswith(f"{package}.")


def how_to_trust(name: str) -> str:
    """What to say of code that is refused; nothing of code that cannot be trusted.

    >>> how_to_trust("os.system")
    ''
    """
    package = name.partition(".")[0]
    if package in NEVER or not package.isidentifier():
        return ""
    return f"; if it is your own, trust it: --trust {package}, or twostream.load(…, trust=[{package!r}])"
