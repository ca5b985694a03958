"""Describes a network before training: stages, shapes, fusion points, parameters, FLOPs, memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .parts import parts, towers

SHOWN = ("stage", "attention", "align", "fusion", "temporal", "head")


@dataclass(frozen=True)
class Row:
    """One stage, attention, learned alignment, fusion, temporal fusion or head.

    `name` is its stage, "all" for a fusion of several stages, or the number of a head. `shape` is its output for one
    clip, (t, c, h, w); that of an alignment is the first stream's, that of a fusion of several stages its last map.
    """

    part: str
    name: str
    layer: str
    shape: tuple[int, ...]
    stride: int | None
    parameters: int


@dataclass(frozen=True)
class Description:
    """The parts, size and cost of a network.

    `flops` are those of a forward pass of one clip; a multiplication and an addition count as two. Memory is in bytes.
    `training_bytes_per_clip` is an estimate: the outputs of all leaf modules, kept for the backward pass, in float32 or
    in the 16 bits of a mixed `precision`. With `checkpointing`: the outputs of all stages and of what follows them, and
    of the leaf modules in the one stage with most of them, which are there while the backward pass computes it again.
    `weights_bytes` counts weights, gradients and one optimizer state (momentum), in float32 whatever the precision.
    """

    rows: tuple[Row, ...]
    heads: int
    parameters: int
    flops: int
    weights_bytes: int
    training_bytes_per_clip: int
    precision: str = "32-true"
    checkpointing: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def count_parameters(module: nn.Module) -> int:
    """Returns how many numbers all parameters have, biases included."""
    return sum(parameter.numel() for parameter in module.parameters())


def describe(
    network: nn.Module,
    *,
    num_chunks: int,
    image_size: int,
    precision: str = "32-true",
    checkpointing: bool = False,
) -> Description:
    """Runs one clip through a network that is on the meta device (shapes only), and records each part's output."""
    shapes: dict[str, tuple[int, ...]] = {}
    inner: Counter[str] = Counter()  # numbers in the outputs of leaf modules, of each stage; "": of all others

    def note(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            output = output[-1] if isinstance(output, list) else output  # of a fusion of several stages
            shapes[name] = tuple((output[0] if isinstance(output, tuple) else output).shape)  # tokens beside a map

        return hook

    def count(stage: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            inner[stage] += output.numel() if isinstance(output, Tensor) else 0

        return hook

    found = [part for part in parts(network) if part.role != "align" or count_parameters(part.module)]
    shown = [part for part in found if part.role in SHOWN and (part.stage or part.role in ("head", "fusion"))]
    handles = [part.module.register_forward_hook(note(part.name)) for part in shown]
    stages = {id(m): part.name for part in shown if part.role == "stage" for m in part.module.modules()}
    leaves = [m for m in network.modules() if not list(m.children()) and not isinstance(m, nn.Identity)]
    handles += [m.register_forward_hook(count(stages.get(id(m), ""))) for m in leaves]
    channels = [tower.in_channels for tower in towers(network).values()]
    streams = [torch.zeros(1, num_chunks, c, image_size, image_size, device="meta") for c in channels]
    counter = FlopCounterMode(display=False)
    was_training = network.training
    with counter, torch.no_grad():
        heads = network.eval()(*streams)
    network.train(was_training)
    for handle in handles:
        handle.remove()

    rows = []
    for part in shown:
        axes: tuple[int, ...] = shapes[part.name]
        # the last four axes are those of one clip, whether or not time has its own axis
        shape = axes[-4:] if len(axes) > 2 else (1, *axes[-1:], 1, 1)
        tower: Any = network.get_submodule(part.stream) if part.role == "stage" else None
        stride = tower.backbone.strides[part.stage] if tower and part.stage.startswith("conv") else None
        label = f"{part.stream} {'' if part.role == 'stage' else part.role}".strip()
        name = part.stage or ("all" if part.role == "fusion" else str(int(part.name.rpartition(".")[2]) + 1))
        rows.append(Row(label, name, _title(part.module), shape, stride, count_parameters(part.module)))
    parameters = count_parameters(network)
    activations = inner.total()
    if checkpointing:
        largest = max(inner[name] for name in stages.values())
        activations = inner[""] + sum(prod(shapes[name]) for name in dict.fromkeys(stages.values())) + largest
    return Description(
        rows=tuple(rows),
        heads=heads.shape[0],
        parameters=parameters,
        flops=counter.get_total_flops(),
        weights_bytes=3 * 4 * parameters,
        training_bytes_per_clip=(2 if precision.endswith("mixed") else 4) * activations,
        precision=precision,
        checkpointing=checkpointing,
    )


def _title(module: nn.Module) -> str:
    """Returns what a part of ours says of itself in `title`, or else its class."""
    own = type(module).__name__ if type(module).__module__.startswith("twostream") else ""
    return getattr(module, "title", own)


def table(description: Description) -> str:
    """Returns the description as text for a terminal."""
    activations = description.training_bytes_per_clip / 2**20
    how = description.precision + ", checkpointing" * description.checkpointing
    lines = [f"{'part':<16}{'stage':<9}{'layer':<22}{'output t×c×h×w':<22}{'stride':>6}{'parameters':>14}"]
    for row in description.rows:
        shape = "×".join(map(str, row.shape))
        stride = "" if row.stride is None else str(row.stride)
        lines.append(f"{row.part:<16}{row.name:<9}{row.layer:<22}{shape:<22}{stride:>6}{row.parameters:>14,}")
    lines += [
        "",
        f"heads (losses)        {description.heads}",
        f"parameters            {description.parameters:,}",
        f"FLOPs per clip        {description.flops / 1e9:,.2f} G (forward; one multiply-add = 2)",
        f"memory, weights       {description.weights_bytes / 2**20:,.0f} MiB (weights, gradients, momentum; float32)",
        f"memory, activations   {activations:,.0f} MiB per clip in training (estimate; {how})",
    ]
    return "\n".join(lines)
