"""Says whether weights to start from are there."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path


def require_weights(weights: str | Path, names: Sequence[str]) -> None:
    """Raises ValueError unless `weights` is one of the published `names`, or the path of a file."""
    if str(weights) not in names and not Path(weights).is_file():
        choices = ", ".join([*names, "null", "the path of a file"])
        close = get_close_matches(str(weights), names, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"weights={str(weights)!r}: no such file; {hint}choose from {choices}")
