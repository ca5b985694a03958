"""No layer is exempt from any kind of test."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import COLUMNS, LAYER_NAMES

FILES = {
    f"test_{name}.py" for name in ("attention", "fusion", "fusion_align", "fusion_bilinear", "temporal", "pooling")
}
FILES |= {"test_pooling_numbers.py", "test_pooling_vlad.py", "test_residual.py", "test_over_time.py"}


def test_no_layer_is_exempt(request: pytest.FixtureRequest) -> None:
    items = request.session.items
    if not {Path(item.fspath).name for item in items} >= FILES:
        pytest.skip("needs all tests of layers: run `pytest tests/models`")
    shown = {tuple(value) for item in items for name, value in item.user_properties if name == "layer"}
    assert not {(layer, column) for layer in LAYER_NAMES for column in COLUMNS} - shown
