"""The measuring tools of the cost script, and that it compares layers with their own formulas."""

from __future__ import annotations

import torch

from benchmarks.layer_costs import PeakMemory, naive_netvlad, outer_products, time_options
from twostream.models.fusion import BilinearFusion
from twostream.models.pooling import NetVLAD


def test_peak_memory_by_hand() -> None:
    """Two tensors of 400 bytes live together; the third is made when the first is gone."""
    with PeakMemory() as memory:
        first = torch.ones(100)
        second = first + 1
        del first
        _third = second * 2
    assert (memory.peak, memory.largest, memory.now) == (800, 400, 800)


def test_the_naive_forms_compute_the_same() -> None:
    torch.manual_seed(0)
    rgb, flow = torch.rand(2, 6, 3, 4), torch.rand(2, 6, 3, 4)
    torch.testing.assert_close(outer_products(rgb, flow), BilinearFusion(6, 6)(rgb, flow).flatten(1))
    layer = NetVLAD(6, 3)
    torch.testing.assert_close(naive_netvlad(layer, rgb), layer(rgb))


def test_every_option_gets_a_line(capsys) -> None:
    time_options("attention", rounds=1, batch=2)
    lines = capsys.readouterr().out.split("\n")
    options = [line.split()[0] for line in lines[2:-1]]
    assert options == ["attention=none", "attention=nonlocal", "attention=se", "attention=self"]
