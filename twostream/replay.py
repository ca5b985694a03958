"""One training step again, that gave a loss which is not a finite number: where does it begin?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from twostream.checkpoint import read_plain
from twostream.config import build_data, build_source
from twostream.config.saved import blamed, build_trained_system, load_config
from twostream.data.history import History
from twostream.plain import has_shape
from twostream.recovery import set_random_state

KEPT = {"!epoch": int, "!index": Tensor, "!state_dict": {str: Tensor}, "!random": {}}


class Replay(NamedTuple):
    """`losses`: of each video by itself. `first`: the first layer whose output is not finite, None if all are."""

    loss: float
    losses: dict[str, float]
    first: str | None
    weights: list[str]  # names of weights that are not finite


def find_kept(path: Path) -> Path:
    """A file of `FiniteLoss`, or the newest one of a run folder. Raises ValueError where there is none."""
    if path.is_file():
        return path
    kept = sorted(path.glob("nonfinite-*.pt"))
    if not kept:
        raise ValueError(f"{path}: has no nonfinite-*.pt, that a run leaves whose loss is not a finite number")
    return kept[-1]


def replay(path: Path) -> Replay:
    """The forward pass of the step, with the same clips, weights and random numbers, in float32."""
    cfg = load_config(path.parent)
    kept = read_plain(path)
    if not has_shape(kept, KEPT):
        raise ValueError(f"{path}: is not what a run keeps of a loss that is not a finite number")
    with blamed(path):
        return _replay(cfg, kept)


def _replay(cfg: Any, kept: dict[str, Any]) -> Replay:
    source = build_source(cfg)
    system = build_trained_system(cfg, source.classes, History()).train()
    system.load_state_dict(kept["state_dict"])
    for module in system.frozen:
        module.eval()
    clips = build_data(cfg, source).train_set
    keys = [(int(kept["epoch"]), index) for index in kept["index"].tolist()]
    batch: Any = default_collate([clips[key] for key in keys])
    set_random_state(kept["random"])
    with torch.no_grad(), first_nonfinite(system.network) as found:
        heads, _ = system(batch)
        loss = system.loss(heads, batch.label)
        losses = [system.loss(heads[:, i : i + 1], batch.label[i : i + 1]).item() for i in range(len(keys))]
    names = [clips.videos[index].id for _, index in keys]
    weights = [name for name, value in system.network.state_dict().items() if not value.isfinite().all()]
    return Replay(loss.item(), dict(zip(names, losses, strict=True)), found[0] if found else None, weights)


@contextmanager
def first_nonfinite(network: nn.Module) -> Iterator[Sequence[str]]:
    """Names of the layers without parts whose outputs are not finite, in the order in which they are computed."""
    found: list[str] = []

    def look(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and not output.isfinite().all():
            found.append(name)

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: look(name, output))
        for name, module in network.named_modules()
        if not list(module.children())
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
