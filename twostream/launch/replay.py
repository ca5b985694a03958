"""Repeats a training step whose loss or gradient was not a finite number, to find the layer where that begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from twostream.config.data import build_data, build_source
from twostream.config.loaded import build_trained_system
from twostream.config.loss import build_objective
from twostream.config.saved import errors_name_file, load_config
from twostream.data.dataset import collate
from twostream.data.history import History
from twostream.data.loader import on_device
from twostream.files.json_yaml import has_shape
from twostream.runs.checkpoint import read_plain
from twostream.training.recovery import set_random_state

PART = {"!index": Tensor, "repeat": Tensor, "!random": {}}  # older files have no repeats
KEPT = {"!epoch": int, "!parts": [PART], "!state_dict": {str: Tensor}}


class Replay(NamedTuple):
    """`losses`: of each video by itself. `first`: the first layer whose output is not finite, None if all are."""

    loss: float  # the mean over its clips
    losses: dict[str, float]
    first: str | None
    weights: list[str]  # names of weights that are not finite, before the step
    gradients: list[str]  # names of weights with gradients that are not finite


def replay(path: Path, *, trust: Sequence[str] = ()) -> Replay:
    """Repeats the forward and backward pass of the step with the same clips, weights and random numbers, in float32."""
    cfg = load_config(path.parent, trust=trust)
    kept = read_plain(path)
    if not has_shape(kept, KEPT):
        raise ValueError(f"{path}: is not what a run keeps of a step that is not finite")
    with errors_name_file(path):
        return _replay(cfg, kept)


def _replay(cfg: Any, kept: dict[str, Any]) -> Replay:
    source = build_source(cfg)
    system = build_trained_system(cfg, source.classes, History(), learns=True).train()
    system.load_state_dict(kept["state_dict"])
    named = dict(system.network.named_parameters())
    weights = [name for name, value in named.items() if not value.isfinite().all()]
    for module in system.frozen:
        module.eval()
    clips = build_data(cfg, source).train_set
    system.objective = build_objective(cfg, source.classes, clips.videos)
    means, counts, losses = [], [], {}
    with first_nonfinite(system.network) as found:
        for part in kept["parts"]:
            indices = part["index"].tolist()
            repeats = part["repeat"].tolist() if "repeat" in part else [0] * len(indices)
            keys = zip(indices, repeats, strict=True)
            batch: Any = collate([clips[int(kept["epoch"]), index, repeat] for index, repeat in keys])
            batch = on_device(batch, "cpu")
            set_random_state(part["random"])
            loss, heads, _ = system.training_loss(batch)
            loss.backward()
            means.append(loss.item())
            counts.append(len(indices))
            for i, index in enumerate(indices):
                losses[clips.videos[index].id] = system.loss(heads[:, i : i + 1], batch.label[i : i + 1]).item()
    gradients = [name for name, value in named.items() if value.grad is not None and not value.grad.isfinite().all()]
    mean = sum(mean * count for mean, count in zip(means, counts, strict=True)) / sum(counts)
    return Replay(mean, losses, found[0] if found else None, weights, gradients)


@contextmanager
def first_nonfinite(network: nn.Module) -> Iterator[Sequence[str]]:
    """Yields a list that collects the names of layers whose outputs are not finite, in the order of computation.

    Looks only at layers that have no layers inside.
    """
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
