"""Tells what learned weights say without any video (pure functions, except for finding the layers)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.models.fusion import ConcatFusion, ConvFusion
from twostream.models.fusion.conv import SHARES
from twostream.models.network.parts import parts, towers
from twostream.models.temporal import Conv3d
from twostream.options.streams import title_of


class Shares(NamedTuple):
    """The weights of a filter that reads both streams, and how much it takes from each (see `fusion_shares`)."""

    weight: Float[Tensor, "d c"]  # the norm over places and times; the first stream's channels first
    first_channels: int
    shares: Float[Tensor, "d 2"]
    start: str = ""  # what the filter was before training, in words


class Taps(NamedTuple):
    """The norms of a 3-D filter at each of its times, for every stream that it reads ("fused": one that is both)."""

    streams: tuple[str, ...]
    norms: Float[Tensor, "s t"]
    start: str = ""  # what the filter was before training, in words


def split_streams(
    weight: Float[Tensor, "d c *k"], *, first_channels: int, order: str = "block"
) -> tuple[Float[Tensor, "d a *k"], Float[Tensor, "d b *k"]]:
    """Returns the parts of a filter that read the first and the second stream; `order` is as in ConcatFusion."""
    if order == "interleaved":
        return weight[:, 1::2], weight[:, 0::2]  # even channels are the second stream's
    return weight[:, :first_channels], weight[:, first_channels:]


def fusion_shares(
    weight: Float[Tensor, "d c *k"], *, first_channels: int, order: str = "block"
) -> Float[Tensor, "d 2"]:
    """Returns how much each output channel takes from the first and the second stream.

    These are the norms of both parts of the channel's filter, divided by their sum. A filter of zeros takes half from
    each.

    >>> fusion_shares(torch.tensor([[3.0, 0.0, 0.0, 1.0]]), first_channels=2)
    tensor([[0.7500, 0.2500]])
    """
    both = split_streams(weight, first_channels=first_channels, order=order)
    norms = torch.stack([one.flatten(1).norm(dim=1) for one in both], dim=1)
    total = norms.sum(1, keepdim=True)
    return torch.where(total > 0, norms / total, torch.full_like(norms, 0.5))


def tap_norms(weight: Float[Tensor, "d c t h w"]) -> Float[Tensor, " t"]:
    """Returns the norm of a 3-D filter at each of its times.

    >>> tap_norms(torch.tensor([3.0, 0.0, 1.0]).view(1, 1, 3, 1, 1))
    tensor([3., 0., 1.])
    """
    return weight.transpose(0, 2).flatten(1).norm(dim=1)


def first_filters(network: Any) -> dict[str, Float[Tensor, "d c h w"]]:
    """Returns the filters that read the frames: {stream: weight}, for each stream that the network has.

    Of filters over several frames, their sum: what they do to a scene that rests.
    """
    weights = {stream: tower.backbone.first[1].weight.detach() for stream, tower in towers(network).items()}
    return {stream: weight.sum(2) if weight.ndim == 5 else weight for stream, weight in weights.items()}


def learned_fusions(network: nn.Module) -> dict[str, Shares]:
    """Returns {name of the layer: shares} of all filters that read both streams.

    These are conv fusions, and 3-D filters behind concat.
    """
    found, streams = {}, getattr(network, "streams", ("rgb", "flow"))
    for name, module in network.named_modules():
        if isinstance(module, ConvFusion):
            shares = read_shares(module.conv.weight, module.concat, module.out_channels)
            found[name] = shares._replace(start=start_of_fusion(module.init, streams))
    for name, (fusion, temporal, first_channels) in filters_behind_concat(network).items():
        shares = read_shares(temporal.conv.weight, fusion, first_channels)
        found[name] = shares._replace(start=start_of_fusion(temporal.init, streams))
    return found


def start_of_fusion(init: str, streams: Sequence[str]) -> str:
    """Says what a filter that reads both streams starts from; `init` is that of ConvFusion or Conv3d.

    >>> start_of_fusion("sum", ("rgb", "flow")), start_of_fusion("kaiming", ("rgb", "flow"))
    ('RGB + flow', 'random values')
    """
    first, second = map(title_of, streams)
    both = f"{SHARES['weighted'][0]:g} {first} + {SHARES['weighted'][1]:g} {second}"
    known = {"sum": f"{first} + {second}", "rgb": f"{first} alone", "flow": f"{second} alone"}
    return {**known, "weighted": both, "paper": f"{both}, spread by a Gaussian"}.get(init, "random values")


def learned_taps(network: nn.Module) -> dict[str, Taps]:
    """Returns {name of the layer: norms over time} of all 3-D filters."""
    stacked, whole, streams = filters_behind_concat(network), list(parts(network)), tuple(towers(network))
    fuses = any(part.role == "fusion" for part in whole)
    found = {}
    for part in [part for part in whole if part.role == "temporal"]:
        stream = "fused" if fuses and part.stream == streams[0] else part.stream
        for name, layer in part.module.named_modules(prefix=part.name):
            if not isinstance(layer, Conv3d):
                continue
            weight = layer.conv.weight.detach()
            start = "a Gaussian over time and place" if layer.init == "paper" else "random values"
            if name in stacked:
                fusion, _, channels = stacked[name]
                both = split_streams(weight, first_channels=channels, order=fusion.order)
                found[name] = Taps(streams, torch.stack([tap_norms(one) for one in both]), start)
            else:
                found[name] = Taps((stream,), tap_norms(weight)[None], start)
    return found


def filters_behind_concat(network: Any) -> dict[str, tuple[ConcatFusion, Conv3d, int]]:
    """Returns {name of the layer: (concatenation, the 3-D filter that reads it, channels of the first stream)}."""
    found = {}
    stacks = {part.stage: part.module for part in parts(network) if isinstance(part.module, ConcatFusion)}
    streams = towers(network)
    for name, _, stream, stage, module in parts(network):
        if stream == next(iter(streams)) and stage in stacks and isinstance(module, Conv3d):
            found[name] = (stacks[stage], module, streams[stream].shapes[stage][0])
    return found


def read_shares(weight: Tensor, fusion: ConcatFusion, first_channels: int) -> Shares:
    """Returns the shares of a filter that reads what `fusion` has stacked."""
    weight = weight.detach()
    both = split_streams(weight, first_channels=first_channels, order=fusion.order)
    matrix = torch.cat(both, dim=1).flatten(2).norm(dim=2)
    return Shares(matrix, both[0].shape[1], fusion_shares(weight, first_channels=first_channels, order=fusion.order))
