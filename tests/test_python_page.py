"""The script of docs/python.md trains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def test_the_script_trains_in_25_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [script] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(script.splitlines()) <= 25
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(script.replace('accelerator="cpu"', 'accelerator="cpu", enable_progress_bar=False'), names)
    [metrics] = names["trainer"].test(names["system"], names["data"], verbose=False)  # type: ignore[attr-defined]
    assert metrics["test/top1"] > 3 * 0.0625, "three times chance"


def test_the_public_names_are_there() -> None:
    import twostream

    assert all(getattr(twostream, name) for name in twostream.__all__)
    assert {
        name
        for name in twostream.__all__
        if f"`{name}`" not in (text := PAGE.read_text()) and f"twostream.{name}" not in text
    } == set()
    with pytest.raises(AttributeError, match="no attribute 'Prediktor'"):
        twostream.Prediktor  # noqa: B018
