"""How an extra of pyproject.toml is installed: into a clone, or beside an installed wheel."""

from __future__ import annotations

import shlex
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def install(extra: str, package: Path = PACKAGE) -> str:
    """Returns the command that installs an extra where this program is.

    `package`: the folder of its files. In a clone, also one that was installed by `pip install -e`, it lies beside
    pyproject.toml; a wheel has it among the packages of the environment.
    """
    clone = package.parent
    if not ((clone / "pyproject.toml").is_file() and (clone / "constraints.txt").is_file()):
        return f'pip install "twostream[{extra}]"'
    if clone == Path.cwd():
        return f'pip install -e ".[{extra}]" -c constraints.txt'
    return f"pip install -e {shlex.quote(f'{clone}[{extra}]')} -c {shlex.quote(f'{clone}/constraints.txt')}"


def missing_extra(what: str, library: str, extra: str, reason: object = "") -> ImportError:
    """Returns the error that `what` needs a library of an extra; `reason`: why it could not be imported."""
    why = f" ({reason})" if reason else ", which is not installed"
    return ImportError(f"{what} needs {library}{why}: {install(extra)}")
