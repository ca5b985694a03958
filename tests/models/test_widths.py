"""Streams of unequal widths: every fusion takes them behind `align.channels=project`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from twostream.config.compose import compose_config
from twostream.config.network import build_network, describe_config
from twostream.options import conf_folder
from twostream.training.optimizers import roles

FUSIONS = sorted({path.stem for path in (conf_folder() / "fusion").glob("*.yaml")} - {"residual"})  # test_residual.py
NARROW = ("backbone@flow_backbone=tiny", "flow_backbone.width=0.5", "flow.length=2", "transform.size=32")
NEEDED = {"pyramid": ("layer=[conv3,conv5]", "fusion.channels=8"), "multilevel": ("layer=[conv3,conv5]",)}


def build(*overrides: str, project: bool = True) -> Any:
    torch.manual_seed(0)
    return build_network(compose_config([*NARROW, *overrides, *["align.channels=project"] * project]), 4)


def clips() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(2, 2, 3, 32, 32) * 255, torch.randn(2, 2, 4, 32, 32) * 20


@pytest.mark.parametrize("name", FUSIONS)
def test_every_fusion_takes_unequal_widths(name: str) -> None:
    network = build(f"fusion={name}", *NEEDED.get(name, ()))
    heads = network(*clips())
    heads.square().sum().backward()
    convolutions = [align.project for align in network.align.values()]
    assert all(one.weight.grad.any() for one in convolutions)
    assert [one.weight.shape[:2] for one in convolutions] == [(32, 16), (64, 32)][-len(convolutions) :]


@pytest.mark.parametrize("layer", ["conv1", "[conv2,conv4]", "[conv5,fc8]", "softmax", "fc8"])
def test_wherever_streams_meet(layer: str) -> None:
    network = build("fusion=sum", f"layer={layer}")
    assert network.combine(network(*clips())).shape == (2, 4)
    projected = [name for name, align in network.align.items() if list(align.parameters())]
    assert projected == [name for name in network.layers if name.startswith("conv")], "scores are equally many"


def test_vectors_of_unequal_widths() -> None:
    """VGG-M-2048 has 2048 numbers after fc7, VGG-16 4096."""
    cfg = compose_config(
        [
            *("backbone=vgg16", "backbone@flow_backbone=vgg_m", "transform.size=224", "layer=fc7", "flow.length=10"),
            *("fusion=sum", "align.channels=project"),
        ]
    )
    network: Any = build_network(cfg, 101, meta=True)
    assert network.align.fc7.project.weight.shape == (4096, 2048, 1, 1)
    rgb, flow = (torch.zeros(1, 1, channels, 224, 224, device="meta") for channels in (3, 20))
    assert network(rgb, flow).shape == (1, 1, 101)


def test_the_projection_is_trained_as_a_part_of_the_fusion() -> None:
    network = build("fusion=sum", "layer=[conv3,conv5]")
    of_align = {name: role for name, role in roles(network).items() if name.startswith("align.")}
    assert set(of_align) == {
        f"align.{stage}.project.{kind}" for stage in ("conv3", "conv5") for kind in ("weight", "bias")
    }
    assert set(of_align.values()) == {"fusion"}
    below = {id(part) for module in network.modules_below("conv4") for part in module.modules()}
    assert id(network.align.conv3.project) in below
    assert id(network.align.conv5.project) not in below


def test_info_shows_what_is_learned_to_align() -> None:
    words = ["fusion=sum", "layer=[conv3,conv5]", "align.channels=project"]
    rows = {(row.part, row.name): row for row in describe_config(compose_config([*NARROW, *words]), 4).rows}
    assert (rows["align", "conv3"].parameters, rows["align", "conv3"].shape) == (16 * 32 + 32, (1, 32, 8, 8))
    assert (rows["align", "conv5"].parameters, rows["align", "conv5"].layer) == (32 * 64 + 64, "ZeroPadAlign")
    plain = describe_config(compose_config(["fusion=sum", "align.channels=project"]), 4)
    assert not [row for row in plain.rows if row.part == "align"]


def test_without_the_projection_the_error_names_it() -> None:
    with pytest.raises(ValueError, match=r"rgb has 64 and flow 32; choose align.channels=project, or fusion=concat"):
        build("fusion=sum", project=False)
    assert build("fusion=bilinear", project=False).combine(build("fusion=bilinear")(*clips())).shape == (2, 4)
