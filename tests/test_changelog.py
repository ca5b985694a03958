"""CHANGELOG.md has the form of Keep a Changelog, and the version is in one place: pyproject.toml."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import twostream

ROOT = Path(__file__).parent.parent


def test_sections() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    first, *released = re.findall(r"^## (.+)$", text, flags=re.M)
    assert first == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", name) for name in released)
    assert {*re.findall(r"^### (.+)$", text, flags=re.M)} <= {"Added", "Changed", "Fixed", "Removed"}


def test_the_version_is_that_of_the_installed_package() -> None:
    [written] = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), flags=re.M)
    assert twostream.__version__ == importlib.metadata.version("twostream") == written  # type: ignore[attr-defined]
