"""Parameter roles, and the learning rate at every step."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from twostream.config.compose import compose_config
from twostream.config.network import build_network
from twostream.config.run import make_optimizer
from twostream.models.backbone import vgg16
from twostream.training.optimizers import constant, cosine, fuses, parameter_groups, plateau, roles, sgd, step


class Toy(nn.Module):
    """Names as in a two-stream network."""

    streams = ("flow",)

    def __init__(self) -> None:
        super().__init__()
        self.fusions = nn.ModuleDict({"conv5": nn.Conv2d(4, 2, 1)})
        stages = nn.ModuleDict({"conv1": nn.Conv2d(3, 2, 3), "conv2": nn.BatchNorm2d(2)})
        self.flow = nn.Module()
        self.flow.backbone = nn.Module()
        self.flow.backbone.stages = stages


def test_every_role_has_its_rate_and_decay() -> None:
    groups = parameter_groups(
        Toy(), learning_rate=0.1, weight_decay=5e-4, bias_factor=2.0, fusion_factor=3.0, flow_conv1_factor=5.0
    )
    found = {group["name"]: (round(group["lr"], 6), group["weight_decay"]) for group in groups}
    assert found == {
        "fusion": (0.3, 5e-4),
        "fusion_bias": (0.6, 0.0),
        "flow_conv1": (0.5, 5e-4),
        "flow_conv1_bias": (1.0, 0.0),
        "tower_norm": (0.1, 0.0),
        "tower_bias": (0.2, 0.0),
    }
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(p.numel() for p in Toy().parameters())


def test_the_first_convolution_of_flow_is_one_layer() -> None:
    """conv1 of VGG-16 is two convolutions, that of a ResNet has batch normalisation; TSN means the filters from RGB."""
    network = nn.Module()
    network.streams = ("flow",)
    network.flow = nn.Module()
    network.flow.backbone = vgg16(20, 5, width=0.02)
    found = [name for name, role in roles(network).items() if role == "flow_conv1"]
    assert found == [f"flow.backbone.stages.conv1.0.{name}" for name in ("weight", "bias")]


def test_the_first_filters_of_clips_of_flow_are_that_layer_too() -> None:
    network = build_network(compose_config(["backbone.inflate=true", "sampling=clip", "flow.length=1"]), 4, meta=True)
    found = [name for name, role in roles(network).items() if role == "flow_conv1" and name.endswith("weight")]
    assert found == ["flow.backbone.stages.conv1.0.weight"]


def test_frozen_parameters_are_left_out() -> None:
    toy = Toy()
    toy.flow.requires_grad_(False)
    names = {g["name"] for g in parameter_groups(toy, learning_rate=0.1, weight_decay=0.0)}
    assert names == {"fusion", "fusion_bias"}
    with pytest.raises(ValueError, match="nothing to train"):
        parameter_groups(toy.requires_grad_(False), learning_rate=0.1, weight_decay=0.0)


def test_sgd_step_by_hand() -> None:
    """w = 1, gradient 2, decay .1, rate .5: w - .5 (2 + .1 · 1) = -.05; the bias has rate 1 and no decay: 1 - 2."""
    layer = nn.Linear(1, 1)
    nn.init.ones_(layer.weight)
    nn.init.ones_(layer.bias)
    optimizer = sgd(layer, learning_rate=0.5, momentum=0.9, weight_decay=0.1, bias_factor=2.0)
    layer(torch.full((1, 1), 2.0)).sum().backward()
    layer.bias.grad = torch.full((1,), 2.0)
    optimizer.step()
    assert layer.weight.item() == pytest.approx(-0.05)
    assert layer.bias.item() == pytest.approx(-1.0)


def rates(schedule, steps: int, **options) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    [entry] = schedule(optimizer, steps_per_epoch=4, **options)
    found = []
    for _ in range(steps):
        found.append(round(optimizer.param_groups[0]["lr"], 6))
        optimizer.step()
        entry["scheduler"].step()
    return found


def test_constant_with_warm_up() -> None:
    assert rates(constant, 6, epochs=2, warmup_epochs=1.0) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_step_drops_at_the_start_of_its_epochs() -> None:
    found = rates(step, 13, epochs=4, milestones=[1, 2.5], gamma=0.1)
    assert found == [1.0] * 4 + [0.1] * 6 + [0.01] * 3


def test_cosine_is_half_at_half_time() -> None:
    found = rates(cosine, 9, epochs=2)
    assert found[0] == 1.0
    assert found[4] == pytest.approx(0.5)
    assert found[8] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("patience", "monitor", "values", "expected"),
    [
        (1, "val/top1", [0.5, 0.6, 0.6, 0.7, 0.6], [1, 1, 0.1, 0.1, 0.01]),
        (2, "val/top1", [0.6, 0.6, 0.5, 0.6, 0.6], [1, 1, 0.1, 0.1, 0.01]),
        (3, "val/top1", [0.5, 0.5, 0.5, 0.5, 0.5], [1, 1, 1, 0.1, 0.1]),
        (1, "val/top1", [0.9, 0.90001, 0.90002], [1, 1, 1]),  # one video more of 100,000
        (1, "val/loss", [3.0, 2.0, 1.0, 1.0], [1, 1, 1, 0.1]),
    ],
)
def test_plateau_by_hand(patience: int, monitor: str, values: list[float], expected: list[float]) -> None:
    """The rate after each epoch's validation: it drops after `patience` epochs in a row without a new best."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    [entry] = plateau(optimizer, steps_per_epoch=4, epochs=9, patience=patience, monitor=monitor)
    assert entry["monitor"] == monitor
    found = []
    for value in values:
        entry["scheduler"].step(value)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx(expected)


def test_plateau_needs_an_epoch() -> None:
    with pytest.raises(ValueError, match=r"schedule\.patience=0: must be at least 1"):
        plateau(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), steps_per_epoch=4, epochs=9, patience=0)


def test_towers_without_weights_have_a_rate_of_their_own() -> None:
    """Of two towers the one that starts from a file has the low rate; where both are random, so is the fusion."""
    cfg = compose_config(["data=ucf101", "backbone=squeezenet1_0", "transform.size=64"])
    network = build_network(cfg, 5, meta=True)

    def rates() -> dict[str, float]:
        groups = parameter_groups(network, learning_rate=1e-5, weight_decay=0.0, random_factor=200.0)
        found = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
        return {name: round(found[id(parameter)], 9) for name, parameter in network.named_parameters()}

    assert set(rates().values()) == {2e-3}
    network.rgb.backbone.report = object()
    mixed = rates()
    assert {rate for name, rate in mixed.items() if name.startswith("flow.")} == {2e-3}
    assert {rate for name, rate in mixed.items() if not name.startswith("flow.")} == {1e-5}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_fused_optimizer_leaves_a_step_out_that_the_device_tells_it_to(name: str) -> None:
    """Also the first one, after which PyTorch's SGD would go on from whatever the memory held."""
    cfg = compose_config(["backbone=tiny", f"optimizer={name}", "optimizer.fused=true"])
    told, plain = (build_network(cfg, 2).requires_grad_() for _ in range(2))
    plain.load_state_dict(told.state_dict())
    one, other = (make_optimizer(cfg)(network) for network in (told, plain))
    one.found_inf = torch.tensor(1.0)
    for weight in told.parameters():
        weight.grad = torch.full_like(weight, math.nan)
    one.step()
    assert all(torch.equal(a, b) for a, b in zip(told.parameters(), plain.parameters(), strict=True))
    one.found_inf = torch.tensor(0.0)
    for network, optimizer in ((told, one), (plain, other)):
        for weight in network.parameters():
            weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(told.parameters(), plain.parameters(), strict=True))


def test_an_optimizer_is_fused_on_cuda_alone() -> None:
    cfg = compose_config(["backbone=tiny"])
    assert make_optimizer(cfg)(build_network(cfg, 2)).defaults["fused"] is None
    on_cuda = [{"params": [SimpleNamespace(is_cuda=True)]}]
    assert fuses(on_cuda, "auto") is True
    assert fuses(on_cuda, False) is None


def test_a_fused_optimizer_does_not_clip_gradients_that_are_scaled() -> None:
    scaled = ["gradient_clip=1", "precision=16-mixed"]
    with pytest.raises(
        ValueError, match=r"optimizer\.fused=true: cannot be with gradient_clip=1.* precision=bf16-mixed"
    ):
        make_optimizer(compose_config([*scaled, "optimizer.fused=true"]))
    assert make_optimizer(compose_config(scaled)).keywords["fused"] is False
    assert make_optimizer(compose_config(scaled[:1])).keywords["fused"] == "auto"
