"""What can be learnt from which stream: the README's table, by training. `pytest -m slow`, minutes each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

BOUNDS = [  # overrides, least and greatest test accuracy
    (["fusion=conv", "layer=conv5"], 0.95, 1.0),
    (["fusion=sum", "layer=softmax"], 0.0, 0.30),
    (["streams=rgb"], 0.0, 0.12),
    (["streams=flow"], 0.0, 0.30),
    (["data=moving_patterns_order", "temporal=conv3d"], 0.9, 1.0),
    (["data=moving_patterns_order", "temporal=pool3d"], 0.0, 0.6),
]


@pytest.mark.slow
@pytest.mark.parametrize(("overrides", "least", "greatest"), BOUNDS, ids=lambda value: str(value))
def test_accuracy_stays_within_what_is_possible(overrides, least: float, greatest: float, tmp_path) -> None:
    subprocess.run(
        [sys.executable, ROOT / "train.py", *overrides, "logger=csv", f"hydra.run.dir={tmp_path}"],
        env={**os.environ},
        check=True,
        timeout=1200,
    )
    accuracy = json.loads((tmp_path / "results.json").read_text())["metrics"]["test/top1"]
    assert least <= accuracy <= greatest
