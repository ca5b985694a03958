"""Computes the features of videos with a frozen network, or reads them from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from twostream.data.clip import Clip
from twostream.data.dataset import ClipDataset
from twostream.data.workers import start_worker
from twostream.probe.features import head_features
from twostream.probe.store import Features, FeatureStore


class Extracted(NamedTuple):
    """The features of videos.

    - `features`: {position in the data set's list: features}, without videos that could not be read.
    - `stored`: how many videos' features came from the store.
    """

    features: dict[int, Features]
    stored: int


def extract(
    network: nn.Module,
    dataset: ClipDataset,
    store: FeatureStore,
    *,
    device: torch.device,
    workers: int,
    watch: Callable[[Iterator[int], int], Iterator[int]] = lambda positions, total: positions,
) -> Extracted:
    """Returns what each video gives the classifiers of the network, view by view; stores what is new, video by video.

    So a command that was stopped goes on where it was. `watch` wraps the iterator over new positions, such as to show
    progress, and gets their number. Raises `VideoError` for a video that cannot be read, unless the data set leaves it
    out.
    """
    streams = [stream.name for stream in dataset.streams]
    found = {position: store.read(video, streams) for position, video in enumerate(dataset.videos)}
    missing = [position for position, features in found.items() if features is None]

    def computed() -> Iterator[int]:
        for clip in loaded(dataset, missing, workers) if missing else ():
            position = int(clip.index[0])
            found[position] = new = features_of(network, clip, streams, device)
            store.write(dataset.videos[position], new)
            yield position

    for _ in watch(computed(), len(missing)):
        pass
    features = {position: one for position, one in found.items() if one is not None}
    return Extracted(features, len(dataset.videos) - len(missing))


def features_of(network: nn.Module, clip: Clip, streams: Sequence[str], device: torch.device) -> Features:
    """Returns {stream: (v, d)} of a batch of one video, in the order of its views; a tower has one classifier."""
    inputs = head_features(network, [clip], device=device).inputs
    assert [name.partition(".")[0] for name in inputs] == list(streams)
    return {name.partition(".")[0]: values.astype(np.float32) for name, values in inputs.items()}


def loaded(dataset: ClipDataset, positions: Sequence[int], workers: int) -> Iterator[Clip]:
    """Yields the videos at these positions, each a batch of its own, without those that cannot be read."""
    keys = [[(0, position)] for position in positions]
    loader = DataLoader(
        dataset,
        batch_sampler=keys,  # type: ignore[arg-type]  # a map-style data set may have any key
        num_workers=min(workers, len(keys)),
        collate_fn=one_clip,
        worker_init_fn=start_worker,
    )
    return (clip for clip in loader if clip is not None)


def one_clip(clips: Sequence[Clip | None]) -> Clip | None:
    """Returns a batch of one video, or None if it could not be read."""
    (clip,) = clips
    return None if clip is None else Clip(*(tensor[None] for tensor in clip))
