"""The hash of a file's content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

BLOCK = 1 << 20  # bytes read at once


def sha256(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 hash of a file's content in 64 hexadecimal digits; reads the file block by block."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
