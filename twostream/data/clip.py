"""The batch that data sets hand to networks: a tuple of tensors."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Int, Int8, UInt8
from torch import Tensor


class Clip(NamedTuple):
    """The views of one video, or of a batch of n videos (then every shape starts with n).

    A stream that is not used has zero channels. Values stay small integers until they are on the device.
    """

    rgb: UInt8[Tensor, "*n v t 3 h w"] | UInt8[Tensor, "*n v t 0 h w"]
    flow: Int8[Tensor, "*n v t c h w"]  # c = 2L channels u1, v1, u2, v2, …; 127 = the flow bound
    label: Int[Tensor, "*n"]
    index: Int[Tensor, "*n"]  # position in the data set's list of videos: results are keyed by it
