"""Collects what the classifiers of a network get as input: the features that a linear probe is fitted to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from twostream.data.clip import Clip
from twostream.data.loader import on_device
from twostream.models.network.heads import classifiers
from twostream.models.network.reading import averaged


class HeadFeatures(NamedTuple):
    """One row for each view of each video; `index`: the video's position in its list."""

    index: Int[np.ndarray, " m"]
    inputs: Mapping[str, Float[np.ndarray, "m d"]]  # {name of the classifier: its input}


@torch.no_grad()
def head_features(
    network: Any, batches: Iterable[Clip | list[Clip]], *, device: torch.device | str = "cpu"
) -> HeadFeatures:
    """Returns what each classifier gets of each view, averaged over space and time, in evaluation mode."""
    layers = classifiers(network)
    found: dict[str, list[Tensor]] = {name: [] for name in layers}
    index: list[Tensor] = []
    count = 0

    def taker(name: str) -> Any:
        def take(layer: nn.Module, inputs: tuple[Tensor]) -> None:
            found[name].append(averaged(inputs[0], count).cpu())

        return take

    hooks = [layer.register_forward_pre_hook(taker(name)) for name, layer in layers.items()]
    training = network.training
    network.eval()
    try:
        with torch.compiler.set_stance("force_eager"):  # a compiled network would not call the hooks
            for batch in batches:
                clip = on_device(batch, device)
                if not (count := len(clip.label)):
                    continue
                for view in range(clip.first.shape[1]):
                    network(clip.first[:, view], clip.second[:, view])
                    index.append(clip.index.cpu())
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    inputs = {name: torch.cat(parts).numpy() for name, parts in found.items()}
    return HeadFeatures(torch.cat(index).numpy(), inputs)


def per_video(parts: Sequence[HeadFeatures]) -> HeadFeatures:
    """Returns the mean over the views of each video, in the order of the list; `parts` are those of all processes.

    A linear classifier's mean score over views is its score of the mean view, so this is what is tested.
    """
    index, place = np.unique(np.concatenate([part.index for part in parts]), return_inverse=True)
    views = np.bincount(place)[:, None]
    inputs = {}
    for name in parts[0].inputs:
        rows = np.concatenate([part.inputs[name] for part in parts])
        sums = np.zeros((len(index), rows.shape[1]))
        np.add.at(sums, place, rows)
        inputs[name] = sums / views
    return HeadFeatures(index, inputs)
