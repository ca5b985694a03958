"""Lists the parts of a network, each with its role, stream and stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn

from .tower import STAGES

TOWER = {"backbone.stages": "stage", "attention": "attention", "temporal": "temporal"}  # module in a tower -> role
BETWEEN = {  # module of both streams -> role; `back`: from the first stream to the second
    **{"align": "align", "fusions": "fusion"},
    **{"align_back": "align", "fusions_back": "fusion"},
}


class Part(NamedTuple):
    """A part of a network; `name` is the name of its module there.

    `role` is one of stage, attention, temporal, align, fusion, head, late. `stream` is that of its tower, or "" for a
    part of both. `stage` is the stage that the part is or follows, or "" if the part follows all stages.
    """

    name: str
    role: str
    stream: str
    stage: str
    module: nn.Module


def parts(network: Any) -> Iterator[Part]:
    """Yields all parts, in the order in which data pass through them.

    No parameter is in two parts, except those of a head's temporal fusion: it is a part, and so is the whole head. The
    tower that continues with the fused map is the first of `network.streams`; a module without it has no towers.
    """
    for stage in STAGES:
        for place, role in TOWER.items():
            if role == "temporal":
                yield from _between(network, stage)
            for stream in getattr(network, "streams", ()):
                if (module := _found(network, f"{stream}.{place}.{stage}")) is not None:
                    yield Part(f"{stream}.{place}.{stage}", role, stream, stage, module)
    if (fusion := getattr(network, "fusion", None)) is not None:
        yield Part("fusion", "fusion", "", "", fusion)
    for number, head in enumerate(getattr(network, "heads", ())):
        yield Part(f"heads.{number}.temporal", "temporal", "", "", head.temporal)
        yield Part(f"heads.{number}", "head", "", "", head)
    if (late := getattr(network, "late", None)) is not None:
        yield Part("late", "late", "", "softmax", late)


def towers(network: Any) -> dict[str, Any]:
    """Returns {stream: tower}, of one stream or of both."""
    return {stream: getattr(network, stream) for stream in getattr(network, "streams", ())}


def _between(network: Any, stage: str) -> Iterator[Part]:
    for place, role in BETWEEN.items():
        if (module := _found(network, f"{place}.{stage}")) is not None:
            yield Part(f"{place}.{stage}", role, "", stage, module)


def _found(network: nn.Module, name: str) -> nn.Module | None:
    try:
        return network.get_submodule(name)
    except AttributeError:
        return None
