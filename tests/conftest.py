"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # test workers run beside each other


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real clips named by TWOSTREAM_REAL_DATA; the test is skipped, visibly, without it."""
    folder = os.environ.get("TWOSTREAM_REAL_DATA")
    if not folder:
        pytest.skip("needs real clips: set TWOSTREAM_REAL_DATA to the folder that holds UCF-101/ and hmdb51/")
    path = Path(folder)
    assert path.is_dir(), f"TWOSTREAM_REAL_DATA={folder!r} is not a folder"
    return path
