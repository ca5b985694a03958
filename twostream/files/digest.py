"""What a file holds, in 64 letters."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

BLOCK = 1 << 20  # bytes read at once


def sha256(path: str | os.PathLike[str]) -> str:
    """The hash of a file's content, read block by block."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
