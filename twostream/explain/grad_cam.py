"""Where in the frames the evidence for a class is: Grad-CAM of either stream, and of the fused map.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from twostream.models.network import STREAMS


def grad_cam(
    network: Any,
    layers: Mapping[str, nn.Module],
    *,
    rgb: Num[Tensor, "n t a h w"],
    flow: Num[Tensor, "n t b h w"],
    label: Int[Tensor, " n"] | None = None,
) -> tuple[Float[Tensor, "m n k"], dict[str, Float[Tensor, "n t g v"]]]:
    """The scores of the heads, and of each layer's map where it speaks for class `label` (None: the best class).

    What is explained is the class's score before softmax, the mean of those of the network's heads. `layers` as
    `maps_to_explain` gives them; all maps come out of one pass forward and one back.
    """
    with torch.enable_grad(), watched(layers) as maps:
        heads = network(rgb, flow)
    wanted = network.combine(heads.detach()).argmax(1) if label is None else label
    score = heads.mean(0).gather(1, wanted[:, None]).sum()  # clips do not know each other: one sum for all gradients
    gradients = torch.autograd.grad(score, list(maps.values()), allow_unused=True)
    n, t = (rgb if rgb.shape[2] else flow).shape[:2]
    found = {}
    for (name, map_), gradient in zip(maps.items(), gradients, strict=True):
        slope = torch.zeros_like(map_) if gradient is None else gradient
        found[name] = activation_map(*(x.detach().reshape(n, t, *x.shape[-3:]) for x in (map_, slope)))
    return heads.detach(), found


def activation_map(maps: Float[Tensor, "n t c h w"], gradient: Float[Tensor, "n t c h w"]) -> Float[Tensor, "n t h w"]:
    """ReLU of the channels' sum, each weighed by the mean of its gradient (equations 1 and 2 of the paper).

    The mean runs over a clip's frames as over the places in them: a channel has one weight for the whole clip.
    """
    weight = gradient.mean(dim=(1, 3, 4), keepdim=True)
    return (weight * maps).sum(2).relu()


def maps_to_explain(network: Any) -> dict[str, nn.Module]:
    """The last map with places in it of each stream before it meets the other, and of the fused stream.

    Of `rgb`, `flow`, `fused` those that the network has: late fusion, and fusion of vectors, leave no fused map.
    """
    towers = {stream: getattr(network, stream) for stream in STREAMS if hasattr(network, stream)}
    layers = {stream: end_of(tower, last_map(tower)) for stream, tower in towers.items()}
    if hasattr(network, "fusion"):  # of several levels, none of which goes back into a tower
        return {**layers, "fused": network.fusion}
    fused: list[str] = [name for name in getattr(network, "layers", ()) if name.startswith("conv")]
    if not fused:
        return layers
    layers["rgb"] = end_of(network.rgb, fused[0])  # from there on flow is in it, never the other way round
    end = last_map(network.rgb)
    fusion = network.fusions[end] if end in fused else None
    if fusion is None or fusion.keeps_map:
        layers["fused"] = end_of(network.rgb, end) if fusion is None else fusion
    return layers


def last_map(tower: Any) -> str:
    """The last stage of a tower that returns a map."""
    return [name for name in tower.stages if name.startswith("conv")][-1]


def end_of(tower: Any, name: str) -> nn.Module:
    """What gives out the map of stage `name`: its attention, or else itself."""
    return tower.attention[name] if name in tower.attention else tower.stages[name]


@contextmanager
def watched(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """What the layers give out while they run, with a way back for gradients. Of several maps, the last."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> None:
        outputs[name] = output[-1] if isinstance(output, list) else output
        if not outputs[name].requires_grad:  # nothing below it is trained
            outputs[name].requires_grad_()

    handles = [
        module.register_forward_hook(lambda _module, _input, output, name=name: keep(name, output))
        for name, module in layers.items()
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
