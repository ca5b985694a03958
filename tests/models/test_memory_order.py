"""channels_last: the same network in another memory order, 3-D filters included."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from benchmarks.step import Waits
from twostream.config.compose import compose_config
from twostream.config.network import build_network
from twostream.config.run import build_system
from twostream.models.memory_order import channels_last


@pytest.mark.parametrize("temporal", ["pool2d", "pool3d", "conv3d"])
def test_the_same_scores_whatever_the_temporal_fusion(temporal: str) -> None:
    torch.manual_seed(0)
    cfg = compose_config([f"temporal={temporal}", "sampling.num_chunks=3"])
    network = build_network(cfg, 5).double().eval()
    rgb, flow = torch.randint(0, 256, (2, 3, 3, 64, 64)), torch.randint(-127, 128, (2, 3, 10, 64, 64))
    expected = network(rgb, flow)
    last = channels_last(copy.deepcopy(network))
    torch.testing.assert_close(last(rgb, flow), expected, rtol=1e-9, atol=1e-12)
    orders = {4: torch.channels_last, 5: torch.channels_last_3d}
    filters = [parameter for parameter in last.parameters() if parameter.ndim in orders]
    assert all(parameter.is_contiguous(memory_format=orders[parameter.ndim]) for parameter in filters)
    assert any(parameter.ndim == 5 for parameter in filters) == (temporal == "conv3d")


def test_a_run_of_the_papers_network_can_be_built_with_it() -> None:
    build_system(compose_config(["temporal=conv3d", "channels_last=true", "sampling.num_chunks=3"]), ("a", "b"))


def test_the_input_is_handed_over_in_that_order_and_in_the_precision_of_training() -> None:
    """To the last bit what the first convolution would have made of float32 values itself."""
    network = build_network(compose_config(["backbone=tiny"]), 5)
    frames = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    normalise: Any = network.rgb.input
    expected = (frames.float() - normalise.mean) / normalise.std
    assert torch.equal(normalise(frames), expected)
    assert normalise(frames).is_contiguous()
    channels_last(network)
    with torch.autocast("cpu", torch.bfloat16), Waits() as counted:
        found = normalise(frames)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())
    assert found.is_contiguous(memory_format=torch.channels_last)
    passes = [name for name in counted.below.names if "empty" not in name]
    assert passes == ["aten.clone.default", "aten.sub.Tensor", "aten.div.out"], "the first one moves single bytes"
