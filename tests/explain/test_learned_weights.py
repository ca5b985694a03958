"""What filters take from which stream and time, by numbers that are known before."""

from __future__ import annotations

import pytest
import torch

from twostream.config.compose import compose_config
from twostream.config.network import build_network
from twostream.explain import first_filters, fusion_shares, learned_fusions, learned_taps, tap_norms
from twostream.models.fusion import ConvFusion
from twostream.models.temporal import gaussian_cube


def test_shares_by_hand() -> None:
    weight = torch.tensor([[3.0, 4.0, 0.0, 5.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    assert fusion_shares(weight, first_channels=2).tolist() == [[0.5, 0.5], [0.5, 0.5], [0.0, 1.0]]
    assert fusion_shares(weight, first_channels=1)[0, 0].item() == pytest.approx(3 / (3 + 41**0.5))
    found = fusion_shares(weight, first_channels=2, order="interleaved")  # flow 3, 0; rgb 4, 5
    assert found[0].tolist() == pytest.approx([41**0.5 / (41**0.5 + 3), 3 / (41**0.5 + 3)])


@pytest.mark.parametrize("order", ["block", "interleaved"])
@pytest.mark.parametrize(("init", "share"), [("sum", 0.5), ("weighted", 0.25), ("rgb", 1.0), ("flow", 0.0)])
def test_shares_of_the_identities_that_training_starts_from(order, init, share) -> None:
    layer = ConvFusion(4, 4, init=init, order=order)
    [found] = learned_fusions(torch.nn.ModuleList([layer])).values()
    assert found.shares.tolist() == [[share, 1 - share]] * 4
    assert (found.first_channels, found.weight.shape) == (4, (4, 8))
    starts = {"sum": "RGB + flow", "weighted": "0.25 RGB + 0.75 flow", "rgb": "RGB alone", "flow": "flow alone"}
    assert found.start == starts[init]
    assert torch.equal(found.weight[:, :4] > 0, torch.eye(4).bool() & (share > 0)), "rgb's channels come first"


def test_taps_by_hand() -> None:
    weight = torch.zeros(2, 1, 3, 1, 2)
    weight[0, 0, 0], weight[1, 0, 0, 0, 0], weight[1, 0, 2, 0, 1] = 2.0, 1.0, -7.0
    assert tap_norms(weight).tolist() == [3, 0, 7]  # 2² + 2² + 1² = 9


def network(*overrides: str):
    return build_network(compose_config(["transform.size=64", *overrides]), 4)


def test_a_3d_filter_behind_concatenation_is_both_fusion_and_filter_over_time() -> None:
    built = network("fusion=conv", "temporal=conv3d")
    found = learned_fusions(built)
    assert list(found) == ["rgb.temporal.conv5"]
    assert found["rgb.temporal.conv5"].shares.flatten().tolist() == pytest.approx([0.25, 0.75] * 64, abs=1e-6)
    [taps] = learned_taps(built).values()
    assert taps.streams == ("rgb", "flow")
    line = gaussian_cube().flatten(1).norm(dim=1)  # each of 64 filters is .25 and .75 of it
    assert torch.allclose(taps.norms, 64**0.5 * torch.tensor([[0.25], [0.75]]) * line)


def test_filters_over_time_of_one_stream() -> None:
    [taps] = learned_taps(network("streams=flow", "temporal=conv3d")).values()
    assert (taps.streams, taps.norms.shape) == (("flow",), (1, 3))
    [taps] = learned_taps(network("fusion=sum", "temporal=conv3d")).values()
    assert taps.streams == ("fused",)
    late = learned_taps(network("fusion=sum", "layer=softmax", "temporal=conv3d"))
    assert [taps.streams for taps in late.values()] == [("rgb",), ("flow",)]


def test_first_filters_read_the_frames() -> None:
    found = first_filters(network())
    assert found["rgb"].shape[1] == 3
    assert found["flow"].shape[1] == 10, "u and v of 5 fields"
    assert list(first_filters(network("streams=rgb"))) == ["rgb"]
    assert list(learned_fusions(network("fusion=multilevel", "layer=[conv4,conv5]"))) == [
        "fusion.levels.0",
        "fusion.levels.1",
    ]
    assert not learned_fusions(network("fusion=sum"))
