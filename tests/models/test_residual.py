"""Residual fusion: hand-computed numbers, and where it starts as the single-stream networks, exactly."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from layer_checks import awake, check_autocast, check_compile, check_formula, check_gradient, check_state_dict
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from twostream.config.compose import compose_config
from twostream.config.network import build_network, describe_config
from twostream.explain import maps_to_explain
from twostream.explain.grad_cam import watched
from twostream.models.backbone.units import EnteredStage, TimeFilter
from twostream.models.network.parts import towers
from twostream.probe.store import network_digest
from twostream.training.optimizers import roles

LAYERS_OF_UNITS = (EnteredStage, TimeFilter)
WORDS = (
    *("backbone=resnet18", "backbone.weights=null", "transform.size=32", "flow.length=2", "dropout.rgb=0"),
    *("fusion=residual", "layer=[conv2,conv3,conv4,conv5]", "two_towers=true"),
)


def build(*overrides: str) -> Any:
    torch.manual_seed(0)
    return build_network(compose_config([*WORDS, *overrides]), 4)


def clips(t: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.rand(2, t, 3, 32, 32) * 255, torch.randn(2, t, 4, 32, 32) * 20


def single(network: Any, stream: str, *overrides: str) -> Any:
    """The network of one stream, with the weights of a tower."""
    cfg = compose_config([*WORDS, f"streams={stream}", "fusion=sum", "layer=conv5", "two_towers=false", *overrides])
    alone = build_network(cfg, 4)
    theirs = network.state_dict()
    alone.load_state_dict({name: theirs[name] for name in alone.state_dict()})
    return alone.eval()


# ---- one unit, by hand ----


def unit_of(weights: list[float]) -> BasicBlock:
    """A residual unit of one channel on single cells: each convolution multiplies."""
    unit = BasicBlock(1, 1).eval()
    with torch.no_grad():
        for convolution, weight in zip((unit.conv1, unit.conv2), weights, strict=True):
            convolution.weight.zero_()
            convolution.weight[0, 0, 1, 1] = weight
    for norm in (unit.bn1, unit.bn2):
        norm.eps = 0.0
    return unit


@pytest.mark.shows("numbers", EnteredStage)
def test_a_unit_by_hand() -> None:
    """x + F(branch), F: 2 · relu(3 · branch); the units around it are x + 1 · relu(1 · x) and x + 5 · relu(-1 · x)."""
    stage = nn.Sequential(unit_of([1, 1]), unit_of([3, 2]), unit_of([-1, 5]))
    entered = EnteredStage(stage, 1, nn.Identity()).eval()
    x = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1, 1)
    middle = entered(x)
    assert middle.flatten().tolist() == [2, 4]
    assert entered(middle, torch.tensor([10.0, -10.0]).view(1, 2, 1, 1, 1)).flatten().tolist() == [2 + 2 * 30, 4 + 0]
    assert torch.equal(entered(middle, middle).flatten(0, 1), stage(x.flatten(0, 1)))


@pytest.mark.shows("numbers", TimeFilter)
def test_a_filter_over_time_by_hand() -> None:
    """Behind the first ReLU of the branch: 1 · before + 10 · now + 100 · after, zeros beyond the ends."""
    over_time = TimeFilter(1)
    with torch.no_grad():
        over_time.conv.weight.copy_(torch.tensor([1.0, 10.0, 100.0]).view(1, 1, 3, 1))
    entered = EnteredStage(nn.Sequential(unit_of([1, 1])), 0, over_time).eval()
    branch = torch.tensor([1.0, -2.0, 3.0]).view(1, 3, 1, 1, 1)  # behind the ReLU 1, 0, 3
    x = torch.tensor([0.5, 0.5, 0.5]).view(1, 3, 1, 1, 1)
    assert entered(x, branch).flatten().tolist() == [10 + 0.5, 1 + 300 + 0.5, 30 + 0.5]


def test_filters_over_time_start_as_the_identity() -> None:
    maps = torch.randn(2, 4, 5, 3, 2)
    assert torch.equal(TimeFilter(5)(maps), maps)
    assert sum(p.numel() for p in TimeFilter(512).parameters()) == 3 * 512 * 512


@pytest.mark.shows("numbers", TimeFilter)
def test_thirds_of_a_filter_by_hand() -> None:
    """6 / 3 · (before + now + after), zeros beyond the ends; of a frame that repeats, 6 times it."""
    flat = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(flat.weight, 6.0)
    for shown, expected in (([1.0, 2.0, 3.0], [6, 12, 10]), ([5.0, 5.0, 5.0], [20, 30, 20])):
        assert TimeFilter.of(flat)(torch.tensor(shown).view(1, 3, 1, 1, 1)).flatten().tolist() == expected


def test_a_unit_of_thirds_by_hand() -> None:
    """The branch of a bottleneck: 3 · (b, now, a), 1 · it, 6 · (b, now, a), each ReLU'd, but the last."""
    unit = Bottleneck(4, 1).eval()
    with torch.no_grad():
        for convolution, weight in ((unit.conv1, 3.0), (unit.conv2, 1.0), (unit.conv3, 6.0)):
            convolution.weight.zero_()
            middle = convolution.weight.shape[-1] // 2
            convolution.weight[0, 0, middle, middle] = weight
    for norm in (unit.bn1, unit.bn2, unit.bn3):
        norm.eps = 0.0
    unit.conv1, unit.conv3 = TimeFilter.of(unit.conv1), TimeFilter.of(unit.conv3)
    branch, x = torch.zeros(1, 3, 4, 1, 1), torch.zeros(1, 3, 4, 1, 1)
    branch[0, :, 0, 0, 0], x[0, :, 0, 0, 0] = torch.tensor([1.0, -3.0, 4.0]), torch.tensor([0.5, 0.5, 0.5])
    found = EnteredStage(nn.Sequential(unit), 0, nn.Identity()).eval()(x, branch)
    # behind the first: -2, 2, 1 -> 0, 2, 1; behind the last, times 2: 4, 6, 6
    assert found[0, :, 0, 0, 0].tolist() == [4.5, 6.5, 6.5]
    assert not found[0, :, 1:].any()


def test_thirds_are_in_both_streams_and_every_weight_is_trained() -> None:
    words = ("backbone=resnet50", "fusion.over_time=thirds", "layer=[conv4,conv5]")
    network = build(*words)
    filters = [name for name, part in network.named_modules() if isinstance(part, TimeFilter)]
    names = [f"stages.{stage}.1.conv{number}" for stage in ("conv4", "conv5") for number in (1, 3)]
    assert filters == [f"{stream}.backbone.{name}" for stream in ("rgb", "flow") for name in names]
    network(*clips()).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


@pytest.mark.shows("formula", TimeFilter)
def test_time_filter_formula() -> None:
    layer, maps = awake(TimeFilter(3)), torch.randn(2, 4, 3, 2, 2)
    weight = layer.conv.weight.double()
    padded = torch.zeros(2, 6, 3, 2, 2, dtype=torch.float64)
    padded[:, 1:5] = maps.double()
    expected = sum(torch.einsum("oc,ntchw->ntohw", weight[:, :, i, 0], padded[:, i : i + 4]) for i in range(3))
    check_formula(layer(maps), expected)  # type: ignore[arg-type]


@pytest.mark.shows("formula", EnteredStage)
def test_entered_stage_formula() -> None:
    """relu(x + F(branch)), F: filter, norm, ReLU, filter over time, filter, norm."""
    torch.manual_seed(0)
    unit, over_time = awake(BasicBlock(2, 2)).eval(), awake(TimeFilter(2))
    x, branch = torch.randn(2, 3, 2, 4, 4), torch.randn(2, 3, 2, 4, 4)
    found = EnteredStage(nn.Sequential(unit), 0, over_time).eval()(x, branch)
    weights = {name: value.double() for name, value in unit.state_dict().items()}

    def filtered(maps: Tensor, number: int) -> Tensor:
        y = torch.nn.functional.conv2d(maps.flatten(0, 1), weights[f"conv{number}.weight"], padding=1)
        scale = weights[f"bn{number}.weight"] / (weights[f"bn{number}.running_var"] + 1e-5).sqrt()
        y = scale[:, None, None] * (y - weights[f"bn{number}.running_mean"][:, None, None])
        return (y + weights[f"bn{number}.bias"][:, None, None]).unflatten(0, maps.shape[:2])

    y = torch.nn.functional.pad(filtered(branch.double(), 1).relu(), (0, 0, 0, 0, 0, 0, 1, 1))
    taps = over_time.conv.weight.double()[..., 0]
    y = sum(torch.einsum("oc,ntchw->ntohw", taps[:, :, i], y[:, i : i + 3]) for i in range(3))
    check_formula(found, (x.double() + filtered(y, 2)).relu())  # type: ignore[arg-type]


@pytest.mark.shows("gradient", *LAYERS_OF_UNITS)
@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
def test_gradient_of_an_entered_stage(kind: Any) -> None:
    width = 2 if kind is BasicBlock else 8
    unit = kind(width, 2).eval()
    stage = EnteredStage(nn.Sequential(unit), 0, TimeFilter(2)).eval()
    check_gradient(awake(stage), torch.randn(1, 2, width, 2, 2), torch.randn(1, 2, width, 2, 2))


class Entered(nn.Module):
    """An entered stage as a layer of two maps: both steps, with a filter over time that is not the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = EnteredStage(nn.Sequential(BasicBlock(2, 2), BasicBlock(2, 2)), 1, TimeFilter(2))

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        middle = self.stage(x)
        return self.stage(middle, middle + other)


@pytest.mark.shows("compile", *LAYERS_OF_UNITS)
@pytest.mark.shows("state_dict", *LAYERS_OF_UNITS)
@pytest.mark.shows("autocast", *LAYERS_OF_UNITS)
def test_an_entered_stage_compiles_and_keeps_its_state_and_its_numbers_in_bfloat16() -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 2, 3, 3), torch.randn(2, 3, 2, 3, 3)
    check_compile(awake(Entered()).eval(), *maps)
    check_state_dict(lambda: Entered().eval(), *maps)
    check_autocast(awake(Entered()).eval(), *maps)


# ---- whole networks ----


def test_flow_is_the_single_stream_network_at_the_start() -> None:
    network = build().eval()
    rgb, flow = clips()
    with torch.no_grad():
        heads = network(rgb, flow)
        assert torch.equal(heads[1], single(network, "flow")(flow)[0])
        assert not torch.allclose(heads[0], single(network, "rgb")(rgb)[0]), "flow enters RGB"


@torch.no_grad()
def silence(network: Any, value: float) -> None:
    """Makes the flow tower's maps `value` behind the first unit of every stage."""
    for module in network.flow.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.zero_()
            module.bias.zero_()
    for name in ("conv2", "conv3", "conv4", "conv5"):
        unit = next(part for part in network.flow.stages[name].children() if isinstance(part, BasicBlock))
        unit.bn2.bias.fill_(value)
        if unit.downsample is None:
            continue
        unit.downsample[1].bias.zero_()


@pytest.mark.long
@pytest.mark.parametrize(("operation", "neutral"), [("add", 0.0), ("multiply", 1.0)])
def test_rgb_is_the_single_stream_network_where_flow_is_neutral(operation: str, neutral: float) -> None:
    network = build(f"fusion.operation={operation}").eval()
    silence(network, neutral)
    rgb, flow = clips()
    with torch.no_grad():
        assert torch.equal(network(rgb, flow)[0], single(network, "rgb")(rgb)[0])
    other = 1.0 - neutral
    silence(network, other)
    with torch.no_grad():
        assert not torch.allclose(network(rgb, flow)[0], single(network, "rgb")(rgb)[0])


def reached(network: Any, head: int) -> set[str]:
    """The towers that the gradient of a head's score reaches, below the first meeting point."""
    network.zero_grad()
    network(*clips())[head].square().sum().backward()
    firsts = {stream: getattr(network, stream).backbone.first[1].weight.grad for stream in ("rgb", "flow")}
    return {stream for stream, gradient in firsts.items() if gradient is not None and gradient.any()}


def test_gradients_go_where_maps_come_from() -> None:
    one_way, both_ways = build(), build("fusion.both_ways=true")
    assert [reached(one_way, head) for head in (0, 1)] == [{"rgb", "flow"}, {"flow"}]
    assert [reached(both_ways, head) for head in (0, 1)] == [{"rgb", "flow"}] * 2


def test_every_parameter_has_a_gradient() -> None:
    network = build("fusion.both_ways=true", "backbone@flow_backbone=resnet50", "flow_backbone.weights=null", *PROJECT)
    network(*clips()).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


PROJECT = ("align.channels=project",)


def test_unequal_widths_need_the_projection() -> None:
    """ResNet-50's stages are 256 … 2048 wide, ResNet-18's 64 … 512; each is projected to the width where it enters."""
    words = ("backbone@flow_backbone=resnet50", "flow_backbone.weights=null", "fusion.both_ways=true")
    with pytest.raises(ValueError, match=r"rgb has 64 and flow 256; choose align.channels=project"):
        build(*words)
    network = build(*words, *PROJECT)
    assert network.align.conv2.project.weight.shape == (64, 256, 1, 1)
    assert network.align_back.conv5.project.weight.shape == (2048, 512, 1, 1)
    found = {name: role for name, role in roles(network).items() if name.startswith("align")}
    assert len(found) == 16
    assert set(found.values()) == {"fusion"}
    assert network(*clips()).shape == (2, 2, 4)


def test_weights_of_single_streams_fit() -> None:
    network = build()
    names = {name for name in network.rgb.state_dict() if "over_time" not in name}
    assert names == set(single(network, "rgb").rgb.state_dict())


def test_checkpointing_gives_the_same_gradients() -> None:
    found = []
    for twice in (False, True):
        network = build()
        for tower in towers(network).values():
            tower.checkpointing = twice
        network(*clips()).square().sum().backward()
        found.append({name: p.grad for name, p in network.named_parameters()})
        found[-1] |= {name: value for name, value in network.named_buffers() if "running" in name}
    for one, other in pairwise(found):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_training_starts_where_streams_first_meet() -> None:
    network = build("layer=[conv4,conv5]")
    below = {id(part) for module in network.modules_below("fusion") for part in module.modules()}
    frozen = [
        stream + name
        for stream in ("rgb", "flow")
        for name in ("conv1", "conv2", "conv3", "conv4")
        if id(getattr(network, stream).stages[name]) in below
    ]
    assert frozen == [f"{stream}{name}" for stream in ("rgb", "flow") for name in ("conv1", "conv2", "conv3")]


def test_what_leads_back_is_frozen_with_the_stages_below() -> None:
    unequal = ("backbone=resnet50", "backbone@flow_backbone=resnet18", "flow_backbone.weights=null")
    words = [*unequal, "align.channels=project", "fusion.both_ways=true", "layer=[conv2,conv3,conv4]"]
    network: Any = build_network(compose_config([*WORDS, *words]), 4, meta=True)
    below = {id(part) for module in network.modules_below("conv4") for part in module.modules()}
    assert [name for name, part in network.align_back.items() if id(part) in below] == ["conv2", "conv3"]
    assert [name for name, part in network.fusions_back.items() if id(part) in below] == ["conv2", "conv3"]


def test_a_probe_tells_operations_apart() -> None:
    digests = {network_digest(build(f"fusion.operation={operation}"), ()) for operation in ("add", "multiply")}
    assert len(digests) == 2


def test_grad_cam_explains_the_map_behind_the_entered_stage() -> None:
    network = build("layer=conv5", "attention_after=[]", "temporal=pool2d").eval()
    with watched(maps_to_explain(network)) as maps:
        heads = network(*clips())
    scores = network.rgb.stages["fc8"](maps["fused"].mean(1))
    assert torch.allclose(scores.flatten(1), heads[0], atol=1e-5)


def test_attention_and_both_ways_are_described() -> None:
    cfg = compose_config([*WORDS, "attention=se", "attention_after=[conv3]", "fusion.both_ways=true"])
    description = describe_config(cfg, 4)
    rows = {(row.part, row.name): row for row in description.rows}
    assert rows["fusion", "conv4"].shape == (1, 256, 2, 2)
    assert rows["rgb", "conv3"].shape == (1, 128, 4, 4)
    assert sum(row.parameters for row in description.rows) == description.parameters


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["two_towers=false"], "two_towers=false: fusion=residual keeps both towers"),
        (["layer=[conv1,conv2]"], "layer='conv1': fusion=residual needs residual units; resnet18 has some in conv2"),
        (["fusion.over_time=thirds"], "units of resnet18 have no 1×1 filters; choose backbone=resnet50"),
        (["layer=[conv5,softmax]"], "layer='softmax': fusion=residual enters residual units"),
        (["backbone=tiny", "layer=conv5"], "tiny has no residual units to enter; choose backbone=resnet18, resnet34"),
        (["backbone=vgg16", "layer=conv5", "transform.size=224"], "vgg16 has no residual units to enter"),
        (
            ["backbone.inflate=true", "sampling=clip"],
            "resnet18 sees whole clips here; choose a ResNet of frames",
        ),
        (["backbone=r3d_18", "sampling=clip"], "r3d_18 sees whole clips here"),
        (["backbone@flow_backbone=tiny", "layer=conv5", "align.channels=project"], "tiny has no residual units"),
    ],
)
def test_what_cannot_be_built_is_one_clear_error(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(compose_config([*(word for word in WORDS if "weights" not in word), *words]), 4, meta=True)
