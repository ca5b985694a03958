"""Clips beside those of other videos, to show a network one stream of a video and the other stream of another one."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from twostream.data.clip import Clip
from twostream.data.dataset import ClipDataset
from twostream.files.errors import ExpectedError

PARTS = ("first", "second")  # the streams of a clip


class WithDonors(Dataset[Clip | None]):
    """The clips of a data set, each beside the clip of its donor, another video; the key is (epoch, place).

    The videos are put into a circle in random order, the same for the same seed. A video's donor is the next one on it,
    so that each video has one donor, is the donor of one, and any other is as likely; classes are not looked at. If the
    next one cannot be read, or its frames have another size, the donor is the first after it that fits.

    Raises ExpectedError if no other video fits.
    """

    def __init__(self, dataset: ClipDataset, *, seed: int = 0) -> None:
        self.dataset = dataset
        self.circle: list[int] = np.random.default_rng(seed).permutation(len(dataset)).tolist()
        self.last: tuple[int, Clip | None] | None = None

    def __len__(self) -> int:
        return len(self.circle)

    def __getitem__(self, key: tuple[int, int]) -> Clip | None:
        """Returns a clip with twice the views: the video's own, then the donor's; `index` (2,) is of both videos."""
        _, place = key
        own = self.clip(place)
        if own is None:
            return None
        for further in range(1, len(self)):
            donor = self.clip(place + further)
            if donor is not None and donor.first.shape == own.first.shape:
                first, second = (torch.cat([getattr(clip, name) for clip in (own, donor)]) for name in PARTS)
                return Clip(first, second, own.label, torch.stack([own.index, donor.index]))
        video = self.dataset.videos[int(own.index)]
        raise ExpectedError(
            f"{video.path}: no other of {len(self)} videos has frames of its size to take a stream from"
        )

    def clip(self, place: int) -> Clip | None:
        """Returns the clip at a place of the circle. The last one is not made again: often it was a donor."""
        place %= len(self)
        if self.last is None or self.last[0] != place:
            self.last = place, self.dataset[(0, self.circle[place])]
        return self.last[1]


def own_and_donor(clips: Clip) -> tuple[Clip, Clip]:
    """Takes a batch of `WithDonors` apart: the videos' clips, then those of their donors, with the videos' labels."""
    (first, first2), (second, second2) = (getattr(clips, name).chunk(2, dim=1) for name in PARTS)
    index, index2 = clips.index.unbind(1)
    return Clip(first, second, clips.label, index), Clip(first2, second2, clips.label, index2)
