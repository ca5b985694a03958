"""What a network is made of: each part with its role, its stream and its stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn

from .tower import STAGES, STREAMS

TOWER = {"backbone.stages": "stage", "attention": "attention", "temporal": "temporal"}  # of a tower: place -> role
BETWEEN = {"align": "align", "fusions": "fusion"}  # of both streams


class Part(NamedTuple):
    """`role`: stage, attention, temporal, align, fusion, head, late. `stream`: rgb, flow, or "" for what has both.

    `name` is that of the module in the network. `stage`: the one that it is, or that it follows; "" for a head that
    follows all.
    """

    name: str
    role: str
    stream: str
    stage: str
    module: nn.Module


def parts(network: Any) -> Iterator[Part]:
    """All parts, in the order in which data meet them; no parameter is in two.

    A tower that is fused with the other goes on as `rgb`.
    """
    for stage in STAGES:
        for place, role in TOWER.items():
            if role == "temporal":
                yield from _between(network, stage)
            for stream in STREAMS:
                if (module := _found(network, f"{stream}.{place}.{stage}")) is not None:
                    yield Part(f"{stream}.{place}.{stage}", role, stream, stage, module)
    if (fusion := getattr(network, "fusion", None)) is not None:
        yield Part("fusion", "fusion", "", "", fusion)
    for number, head in enumerate(getattr(network, "heads", ())):
        yield Part(f"heads.{number}", "head", "", "", head)
    if (late := getattr(network, "late", None)) is not None:
        yield Part("late", "late", "", "softmax", late)


def _between(network: Any, stage: str) -> Iterator[Part]:
    for place, role in BETWEEN.items():
        if (module := _found(network, f"{place}.{stage}")) is not None:
            yield Part(f"{place}.{stage}", role, "", stage, module)


def _found(network: nn.Module, name: str) -> nn.Module | None:
    try:
        return network.get_submodule(name)
    except AttributeError:
        return None
