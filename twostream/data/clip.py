"""The batch that data sets hand to networks: a tuple of tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

Label = Int[Tensor, "*n"] | Float[Tensor, "*n k"]  # the position of the class; of several labels: 1 or 0 for each class


class Clip(NamedTuple):
    """The views of one video, or of a batch of n videos (then every shape starts with n).

    A network of one stream has no second one: zero channels. Values stay small integers until they are on the device;
    `twostream.options.streams` says what they mean.
    """

    first: Num[Tensor, "*n v t a h w"]
    second: Num[Tensor, "*n v t b h w"]
    label: Label
    index: Int[Tensor, "*n"]  # position in the data set's list of videos: results are keyed by it
    repeat: Int[Tensor, "*n"] = torch.tensor(0)  # how often the video has come in this epoch before
