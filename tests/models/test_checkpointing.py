"""checkpointing: the same numbers from fewer maps in memory."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from twostream.config.compose import compose_config
from twostream.config.network import build_network, describe_config
from twostream.models.network.parts import towers

CLIP = (2, 2, 3, 64, 64), (2, 2, 4, 64, 64)


def pair(*overrides: str) -> tuple[nn.Module, nn.Module]:
    """A network as it is, and one that computes its stages twice."""
    torch.manual_seed(0)
    plain = build_network(compose_config(["flow.length=2", "sampling.num_chunks=2", *overrides]), 5).train()
    again = copy.deepcopy(plain)
    for tower in towers(again).values():
        tower.checkpointing = True
    return plain, again


def step(network: Any) -> tuple[Tensor, int]:
    """Does a forward and backward pass. Returns the scores, and how many numbers were kept between the two."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    random = torch.Generator().manual_seed(1)
    rgb, flow = (torch.randint(0, 100, shape, generator=random) for shape in CLIP)
    torch.manual_seed(2)  # of dropout
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        heads = network(rgb, flow)
    heads.square().sum().backward()
    weights = {parameter.data_ptr() for parameter in network.parameters()}
    return heads, sum(number for place, number in kept.items() if place not in weights)


@pytest.mark.parametrize(
    "overrides",
    [
        ["backbone=tiny", "two_towers=true", "attention=se"],
        ["backbone=resnet18", "fusion=multilevel", "layer=[conv4,conv5]"],
        ["backbone=squeezenet1_0", "layer=softmax", "fusion=sum"],  # dropout within a stage
    ],
    ids=["tiny", "resnet18", "squeezenet1_0"],
)
def test_the_same_scores_gradients_and_running_means_to_the_last_bit(overrides: list[str]) -> None:
    plain, again = pair(*overrides)
    (expected, all_maps), (found, few_maps) = step(plain), step(again)
    assert torch.equal(found, expected)
    gradients = dict(again.named_parameters())
    assert all(torch.equal(weight.grad, gradients[name].grad) for name, weight in plain.named_parameters())  # type: ignore[arg-type]
    buffers = dict(again.named_buffers())
    assert all(torch.equal(value, buffers[name]) for name, value in plain.named_buffers()), "each batch counts once"
    assert few_maps < all_maps * 2 / 3


def test_no_stage_is_computed_twice_where_nothing_is_trained() -> None:
    _, again = pair("backbone=tiny")
    calls: list[int] = []
    again.rgb.stages["conv1"].register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr]
    again.eval()
    step(again)
    assert len(calls) == 1


def test_info_says_the_memory_of_what_was_asked_for() -> None:
    """Half of it in 16 bits; with checkpointing, no more than the outputs of all stages and one stage's inner maps."""
    plain, half, less = (
        describe_config(compose_config(["backbone=resnet18", "transform.size=64", *overrides]), 5)
        for overrides in ([], ["precision=bf16-mixed"], ["checkpointing=true"])
    )
    assert half.training_bytes_per_clip * 2 == plain.training_bytes_per_clip
    assert less.training_bytes_per_clip < plain.training_bytes_per_clip / 2
    assert less.weights_bytes == half.weights_bytes == plain.weights_bytes


def test_the_compiler_is_not_asked_to_follow() -> None:
    """By no command."""
    with pytest.raises(ValueError, match="checkpointing=true: the compiler cannot follow it; choose compile=false"):
        compose_config(["checkpointing=true", "compile=true"])
