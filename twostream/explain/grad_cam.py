"""Grad-CAM of each stream and of the fused map: shows where in the frames the evidence for a class is.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from twostream.models.network.parts import parts


def grad_cam(
    network: Any,
    layers: Mapping[str, nn.Module],
    streams: Sequence[Num[Tensor, "n t c h w"]],
    *,
    label: Int[Tensor, " n"] | None = None,
) -> tuple[Float[Tensor, "m n k"], dict[str, Float[Tensor, "n t g v"]]]:
    """Returns the scores of the m heads, and for each layer a map of the places that speak for class `label`.

    With `label` None this is the best class of each clip. The maps explain the class's score before softmax, averaged
    over the network's heads. `layers` comes from `maps_to_explain`. All maps need one pass forward and one back.
    A map of a network that has shortened time stands for all frames that it was made of.
    """
    with torch.enable_grad(), watched(layers) as maps:
        heads = network(*streams)
    wanted = network.combine(heads.detach()).argmax(1) if label is None else label
    score = heads.mean(0).gather(1, wanted[:, None]).sum()  # clips are independent: one sum gives all gradients
    gradients = torch.autograd.grad(score, list(maps.values()), allow_unused=True)
    n, t = streams[0].shape[:2]
    found = {}
    for (name, map_), gradient in zip(maps.items(), gradients, strict=True):
        slope = torch.zeros_like(map_) if gradient is None else gradient
        found_map = activation_map(*(x.detach().reshape(n, -1, *x.shape[-3:]) for x in (map_, slope)))
        found[name] = found_map[:, torch.arange(t, device=found_map.device) * found_map.shape[1] // t]
    return heads.detach(), found


def activation_map(maps: Float[Tensor, "n t c h w"], gradient: Float[Tensor, "n t c h w"]) -> Float[Tensor, "n t h w"]:
    """Returns the ReLU of the channels' sum, each weighted by its mean gradient (equations 1 and 2 of the paper).

    The mean runs over a clip's frames as well as the places in them: a channel has one weight for the whole clip.
    """
    weight = gradient.mean(dim=(1, 3, 4), keepdim=True)
    return (weight * maps).sum(2).relu()


def maps_to_explain(network: Any) -> dict[str, nn.Module]:
    """Returns the layers of a network to explain: {stream or "fused": layer}.

    For a stream this is the layer with its last spatial map before it meets the other stream, for "fused" that with the
    last spatial map of both: where streams meet inside of a stage, that is the map behind it. Late fusion, and fusion
    of vectors, have no fused map. A network as a whole has none, and no map counts from which only the tokens beside it
    go on, as before the class token of a transformer is classified.
    """
    layers: dict[str, nn.Module] = {}
    entered = {part.stage for part in parts(network) if getattr(part.module, "enters_units", False)}
    for part in parts(network):
        if part.role not in ("stage", "attention", "fusion") or part.stage.startswith("fc"):
            continue
        if part.stream and not getattr(network, part.stream).backbone.reads_map(part.stage):
            continue
        if part.role == "fusion" and part.stage in entered:
            continue
        met = part.role == "fusion" or part.stage in entered or "fused" in layers
        of_both = met and part.stream in ("", network.streams[0])  # the first tower goes on with both
        layers["fused" if of_both else part.stream] = part.module
    if not getattr(layers.get("fused"), "keeps_map", True):
        del layers["fused"]
    return layers


@contextmanager
def watched(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Yields what the layers output while they run, in a form that gradients can reach.

    If a layer outputs several maps, the last one is kept; if tokens beside its map, the map.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> None:
        outputs[name] = output[-1] if isinstance(output, list) else output[0] if isinstance(output, tuple) else output
        if not outputs[name].requires_grad:  # nothing below the layer is trained
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
