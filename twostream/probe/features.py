"""What the classifiers of a network are given: the features that a linear probe is fitted to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from twostream.data.clip import Clip


class HeadFeatures(NamedTuple):
    """One row for each view of each video; `index`: the video's position in its list."""

    index: Int[np.ndarray, " m"]
    inputs: Mapping[str, Float[np.ndarray, "m d"]]  # {name of the classifier: what it gets}


def classifiers(network: Any) -> dict[str, nn.Module]:
    """{dotted name: the linear layer of each head, whose outputs, averaged over space and time, are its scores}."""
    towers = [getattr(network, stream) for stream in ("rgb", "flow") if hasattr(network, stream)]
    layers = [tower.backbone.classifier for tower in towers if "fc8" in tower.stages]
    layers += [head.classifier for head in getattr(network, "heads", [])]
    names = {id(module): name for name, module in network.named_modules()}
    return {names[id(layer)]: layer for layer in layers}


@torch.no_grad()
def head_features(network: Any, batches: Iterable[Clip], *, device: torch.device | str = "cpu") -> HeadFeatures:
    """What each classifier gets of each view, averaged over space and time, in evaluation mode."""
    layers = classifiers(network)
    found: dict[str, list[Tensor]] = {name: [] for name in layers}
    index: list[Tensor] = []
    count = 0

    def taker(name: str) -> Any:
        def take(layer: nn.Module, inputs: tuple[Tensor]) -> None:
            found[name].append(inputs[0].detach().unflatten(0, (count, -1)).flatten(3).movedim(2, -1))

        return take

    hooks = [layer.register_forward_pre_hook(taker(name)) for name, layer in layers.items()]
    training = network.training
    network.eval()
    try:
        with torch.compiler.set_stance("force_eager"):  # a compiled network would leave the hooks out
            for clip in batches:
                if not (count := len(clip.label)):
                    continue
                for view in range(clip.rgb.shape[1]):
                    network(clip.rgb[:, view].to(device), clip.flow[:, view].to(device))
                    index.append(clip.index)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    rows = {
        name: torch.cat([part.flatten(1, -2).double().mean(1).cpu() for part in parts]) for name, parts in found.items()
    }
    return HeadFeatures(torch.cat(index).numpy(), {name: row.numpy() for name, row in rows.items()})


def per_video(parts: Sequence[HeadFeatures]) -> HeadFeatures:
    """The mean over the views of each video, in the order of the list: of all processes that had a share.

    A linear classifier's mean score over views is its score of the mean view, so that this is what is tested.
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
