"""What one training step asks of the device, and how often the host would wait for it; counted on a CPU."""

from __future__ import annotations

import pytest
import torch

from benchmarks.step import Waits, run_steps

TINY = ["backbone=tiny", "batch_size=4", "flow.preset=ultrafast", "ema=0.9"]


def test_calls_that_wait_are_counted() -> None:
    numbers = torch.arange(3)
    with Waits() as waits:
        bool(numbers[0] == 0)
        numbers[numbers > 1].tolist()
        numbers.to("cpu")
        torch.tensor(1)
        numbers.to("cpu", non_blocking=True)
        numbers + 1
    assert sorted(name.rpartition(" ")[2] for name in waits.places) == [
        "__bool__",
        "aten.index",
        "tensor",
        "to",
        "tolist",
    ]


@pytest.mark.long
@pytest.mark.parametrize("overrides", [["optimizer=sgd"], ["accumulate=2"], ["batch_size=2"]])
def test_no_step_waits_for_the_device(overrides: list[str]) -> None:
    """But for what was found in the step before, which the device has done by now."""
    _, watch = run_steps([*TINY, "optimizer.fused=true", *overrides], 8, bare=False)
    assert watch.waits.places == {"finiteness.py:read __bool__": 1}
