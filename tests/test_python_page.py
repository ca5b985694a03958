"""The script of docs/python.md trains."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import twostream

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


@pytest.mark.long
def test_the_script_trains_in_25_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [script] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(script.splitlines()) <= 25
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    torch.manual_seed(0)
    exec(script.replace('accelerator="cpu"', 'accelerator="cpu", enable_progress_bar=False'), names)
    [metrics] = names["trainer"].test(names["system"], names["data"], verbose=False)  # type: ignore[attr-defined]
    assert metrics["test/top1"] > 2 * 0.0625, "twice chance; .34 here"


def test_the_public_names_are_there() -> None:
    assert all(getattr(twostream, name) for name in twostream.__all__)
    assert {
        name
        for name in twostream.__all__
        if f"`{name}`" not in (text := PAGE.read_text()) and f"twostream.{name}" not in text
    } == set()
    with pytest.raises(AttributeError, match="no attribute 'Prediktor'"):
        twostream.Prediktor  # noqa: B018


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fusion": "nosuch"}, "nosuch"),
        ({"layer": "conv9"}, "conv9"),
        ({"nosuch": 1}, "nosuch"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"backbone": "resnet18", "weights": "/my dir,(1)/a=b.pth"}, "b.pth"),
    ],
)
def test_what_cannot_be_created_is_a_value_error(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        twostream.create_model(**{"num_classes": 3, **options})


def test_values_of_python_are_options() -> None:
    network = twostream.create_model(num_classes=3, layer=["conv3", "fc8"], dropout={"rgb": 0.25, "flow": None})
    assert {module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)} == {0.25}
