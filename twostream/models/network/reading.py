"""Reads a network at one of its layers: a vector for each clip, the mean over its frames and places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from .heads import classifiers
from .parts import parts

FUSED, HEAD = "fused", "head"


def readable(network: Any) -> dict[str, dict[str, nn.Module]]:
    """Returns {name of a layer: {its part: module}}, in the order in which data pass through the layers.

    - `STREAM.STAGE`: what a stage of one stream returns, after its attention; `STAGE`: that of every stream that has
      the stage. After a fusion, the first stream's stages have seen both.
    - `fused`: what the last fusion returns, of a network that has one.
    - `head`: what its classifiers get.
    """
    stages: dict[str, dict[str, nn.Module]] = {}
    fused: dict[str, nn.Module] = {}
    for part in parts(network):
        if part.role in ("stage", "attention"):
            stages.setdefault(part.stage, {})[part.stream] = part.module
        elif part.role == "fusion" and not part.name.startswith("fusions_back"):
            fused = {FUSED: part.module}
    single = {
        f"{stream}.{stage}": {stream: module} for stage, found in stages.items() for stream, module in found.items()
    }
    return {**single, **stages, **({FUSED: fused} if fused else {}), HEAD: classifiers(network)}


def read(
    network: nn.Module, layer: str, streams: Sequence[Num[Tensor, "n t c h w"]]
) -> dict[str, Float[Tensor, "n d"]]:
    """Returns {part: vectors} of clips at a layer out of `readable`, in float64.

    For `head` they are the inputs of the classifiers: a linear classifier's score of a vector is its score of the clip.
    Several maps of one part, as of fused levels, follow one another.
    """
    found: dict[str, Tensor] = {}
    clips = len(streams[0])

    def keep(part: str, maps: Any) -> None:
        maps = maps[0] if isinstance(maps, tuple) else maps  # beside tokens
        levels = maps if isinstance(maps, list) else [maps]
        found[part] = torch.cat([averaged(level, clips) for level in levels], 1)

    def hook(part: str, module: nn.Module) -> Any:
        if layer == HEAD:
            return module.register_forward_pre_hook(lambda _, inputs: keep(part, inputs[0]))
        return module.register_forward_hook(lambda _, __, output: keep(part, output))

    hooks = [hook(part, module) for part, module in readable(network)[layer].items()]
    try:
        network(*streams)
    finally:
        for one in hooks:
            one.remove()
    return found


def averaged(maps: Float[Tensor, "m d *any"], clips: int) -> Float[Tensor, "n d"]:
    """Returns the mean over frames and places of maps (n·t, d, h, w), (n, t, d, h, w) or vectors (n·t, d), in float64.

    >>> averaged(torch.arange(8.0).view(2, 2, 1, 2), clips=1).tolist()
    [[2.5, 4.5]]
    """
    maps = maps.flatten(0, 1) if maps.ndim == 5 else maps
    vectors = maps.double().flatten(2).mean(2) if maps.ndim > 2 else maps.double()
    return vectors.unflatten(0, (clips, -1)).mean(1)


def check_layer(network: nn.Module, layer: str) -> None:
    """Raises ValueError, which lists the layers that the network has, if it has no such layer."""
    if layer not in (there := readable(network)):
        raise ValueError(f"--layer {layer}: this network has none; choose from {', '.join(there)}")


def parameters_below(network: nn.Module, layer: str, streams: Sequence[Num[Tensor, "n t c h w"]]) -> set[str]:
    """Returns the names of the parameters that a layer's vectors depend on; tells by a pass forward and back."""
    names, parameters = zip(*network.named_parameters(), strict=True)
    with torch.enable_grad():
        total = torch.stack([vectors.sum() for vectors in read(network, layer, streams).values()]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}
