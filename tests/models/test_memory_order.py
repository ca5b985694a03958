"""channels_last: the same network in another memory order, 3-D filters included."""

from __future__ import annotations

import copy

import pytest
import torch

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
