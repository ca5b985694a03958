"""Fixtures for reading videos."""

from __future__ import annotations

from pathlib import Path

import pytest

from twostream.data import frames


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> frames.Kept:
    """A folder for frames and fields that is not full, however full this machine's disk is."""
    monkeypatch.setattr(frames, "SPARE", 0)
    return frames.Kept(tmp_path)
