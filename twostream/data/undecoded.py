"""Clips whose pictures stay JPEGs until they are on the device, which decodes, crops and mirrors them.

`data.decode=gpu`: workers only read bytes. The numbers are those of `twostream.data.transform` to one grey level, where
both decoders give the same pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int, Int8, Num, UInt8
from torch import Tensor

from twostream.data.dataset import ClipDataset
from twostream.data.decoding import VideoError
from twostream.data.sources import Video
from twostream.data.transform import MOST, Box, flow_scales
from twostream.options.streams import Stream


class JPEG(NamedTuple):
    """A picture that is not decoded yet; `shape` is that of its pixels, (h, w)."""

    blob: bytes
    shape: tuple[int, int]


class Shown(NamedTuple):
    """What one clip shows of the pictures that were read for it, and how they are cut."""

    video: str  # its path, for errors
    pictures: int
    places: Int[np.ndarray, "v t *any"]  # which of them; -1: no motion
    boxes: Sequence[Box]
    sides: tuple[int, int]
    width: int  # of a frame or a field, whose picture holds u and v side by side


@dataclass(frozen=True)
class Undecoded:
    """One stream of n clips, in the place of its tensor in a `Clip`: `to` returns that tensor."""

    stream: Stream
    data: UInt8[Tensor, " bytes"]  # the pictures of all clips, one behind the other
    ends: Int[Tensor, " pictures"]
    clips: Sequence[Shown]

    @classmethod
    def joined(cls, parts: Sequence[Undecoded]) -> Undecoded:
        """Returns all clips of some parts of one stream."""
        starts = np.cumsum([0, *(len(part.data) for part in parts[:-1])]).tolist()
        ends = [part.ends + start for part, start in zip(parts, starts, strict=True)]
        clips = [clip for part in parts for clip in part.clips]
        return cls(parts[0].stream, torch.cat([part.data for part in parts]), torch.cat(ends), clips)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Num[Tensor, "n v t c h w"]:
        """Returns the stream as a tensor on a device. Raises VideoError for a picture that cannot be decoded."""
        blobs = [self.data[start:end] for start, end in pairwise([0, *self.ends.tolist()])]
        names = [clip.video for clip in self.clips for _ in range(clip.pictures)]
        pictures = iter(decode(blobs, names, grey=self.stream.made == "flow", device=device))
        made = []
        for clip in self.clips:
            own = [next(pictures) for _ in range(clip.pictures)]
            made.append(arranged(self.stream, torch.stack(own), clip) if own else still(self.stream, clip, device))
        return torch.stack(made)

    def pin_memory(self) -> Undecoded:
        """Returns itself: decoders read JPEGs from ordinary memory."""
        return self


class UndecodedClips(ClipDataset):
    """`ClipDataset` whose clips have JPEGs in the place of pixels: frames of `Packed`, fields of a store of JPEGs."""

    in_pieces = True  # whoever gets a batch, decodes it

    def _read(self, video: Video, shown: Mapping[Stream, np.ndarray], num_frames: int) -> dict[Any, Any]:
        places = [chosen for stream, chosen in shown.items() if stream.made != "flow"]
        if not places:
            return {}
        needed = np.unique(np.concatenate([chosen.ravel() for chosen in places])).tolist()
        blobs, shape = self.frame_source.jpegs(video, needed)  # type: ignore[attr-defined]
        return {index: JPEG(blob, shape) for index, blob in zip(needed, blobs, strict=True)}

    def _pictures(
        self,
        stream: Stream,
        video: Video,
        frames: dict[int, Any],
        shown: np.ndarray,
        boxes: list[Box],
        sides: tuple[int, int],
    ) -> Any:
        distinct, places = np.unique(shown, return_inverse=True)
        jpegs = [frames[index] for index in distinct.tolist()]
        blobs = [jpeg.blob for jpeg in jpegs]
        return undecoded(stream, video, blobs, places.reshape(shown.shape), boxes, sides, jpegs[0].shape[1])

    def _flow(
        self,
        stream: Stream,
        video: Video,
        frames: dict[Any, Any],
        pairs: np.ndarray,
        boxes: list[Box],
        sides: tuple[int, int],
    ) -> Any:
        assert self.flow_store is not None
        distinct, places = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True)
        moves = distinct[:, 0] < distinct[:, 1]
        number = np.where(moves, np.cumsum(moves) - 1, -1)  # a pair of equal frames has no picture
        blobs, (_, width) = self.flow_store.jpegs(video, distinct[moves])
        return undecoded(stream, video, blobs, number[places].reshape(pairs.shape[:-1]), boxes, sides, width)

    def _coloured(self, stream: Stream, views: Any, rng: np.random.Generator) -> Any:
        return views  # colour jitter is refused

    def _handed_over(self, made: Sequence[Any]) -> tuple[Any, Any]:
        first, *others = made
        clip = first.clips[0]
        views, frames = len(clip.boxes) * clip.places.shape[0], clip.places.shape[1]
        absent = torch.zeros(views, frames, 0, *clip.sides, dtype=getattr(torch, first.stream.dtype))
        return first, others[0] if others else absent


def undecoded(
    stream: Stream,
    video: Video,
    blobs: Sequence[bytes],
    places: np.ndarray,
    boxes: Sequence[Box],
    sides: tuple[int, int],
    width: int,
) -> Undecoded:
    """Returns one stream of one clip."""
    data = torch.from_numpy(np.frombuffer(b"".join(blobs), np.uint8).copy())
    ends = torch.tensor([len(blob) for blob in blobs], dtype=torch.int64).cumsum(0)
    return Undecoded(stream, data, ends, [Shown(str(video.path), len(blobs), places, boxes, sides, width)])


def decode(
    blobs: Sequence[UInt8[Tensor, " bytes"]], names: Sequence[str], *, grey: bool, device: torch.device | str
) -> list[UInt8[Tensor, "c h w"]]:
    """Decodes JPEGs together (torchvision, nvJPEG on a GPU). Raises VideoError with the name of one that it cannot."""
    from torchvision.io import ImageReadMode, decode_jpeg  # takes a second to import

    if not blobs:
        return []
    mode = ImageReadMode.GRAY if grey else ImageReadMode.RGB
    try:
        return decode_jpeg(list(blobs), mode=mode, device=device)  # type: ignore[return-value]
    except RuntimeError:  # does not say which
        for blob, name in zip(blobs, names, strict=True):
            try:
                decode_jpeg(blob, mode=mode)
            except RuntimeError as error:
                raise VideoError(name, f"has a picture that cannot be decoded ({error})") from None
        raise


def arranged(stream: Stream, pictures: UInt8[Tensor, "m c h w"], clip: Shown) -> Num[Tensor, "v t c h2 w2"]:
    """Returns a clip of its decoded pictures: all boxes of each view in time."""
    places = torch.from_numpy(clip.places).to(pictures.device)
    cut = cut_fields if stream.made == "flow" else cut_pictures
    views = torch.stack([cut(pictures, box, clip)[places] for box in clip.boxes]).flatten(0, 1)
    if stream.made == "flow":
        return views.flatten(2, 3)  # u1, v1, u2, v2, …
    if stream.made == "differences":
        changes = views[:, :, 1:].to(torch.int16) - views[:, :, :-1]
        return changes.flatten(2, 3)
    return views


def still(stream: Stream, clip: Shown, device: torch.device | str) -> Num[Tensor, "v t c h2 w2"]:
    """Returns a clip of fields without motion, such as that of a video of one frame, which has no field."""
    v, t = clip.places.shape[:2]
    return torch.zeros(len(clip.boxes) * v, t, stream.channels, *clip.sides, dtype=torch.int8, device=device)


def cut_pictures(pictures: UInt8[Tensor, "m 3 h w"], box: Box, clip: Shown) -> UInt8[Tensor, "m 3 h2 w2"]:
    """`crop_rgb` on a device."""
    rows, columns = box.pixels(*pictures.shape[2:])
    crops = resized(pictures[..., rows, columns].float(), clip.sides).round_().clamp_(0, 255).to(torch.uint8)
    return crops.flip(-1) if box.flip else crops


def cut_fields(pictures: UInt8[Tensor, "m 1 h w"], box: Box, clip: Shown) -> Int8[Tensor, "m+1 2 h2 w2"]:
    """`crop_stored` on a device; behind the fields comes one without motion."""
    u_and_v = pictures[:, 0].unflatten(-1, (2, -1))[..., : clip.width].transpose(1, 2)
    levels = u_and_v.float().sub_(128).clamp_(min=-MOST)
    rows, columns = box.pixels(*levels.shape[2:])
    scales = torch.from_numpy(flow_scales(rows, columns, *clip.sides, box.flip)).to(levels.device)
    crops = resized(levels[..., rows, columns] * scales[:, None, None], clip.sides).round_().clamp_(-MOST, MOST)
    crops = torch.cat([crops, crops.new_zeros(1, 2, *clip.sides)]).to(torch.int8)
    return crops.flip(-1) if box.flip else crops


def resized(images: Float32[Tensor, "m c h w"], sides: tuple[int, int]) -> Float32[Tensor, "m c h2 w2"]:
    """Resizes like OpenCV: averages areas if both sides shrink, else interpolates linearly."""
    shrinks = images.shape[2] > sides[0] and images.shape[3] > sides[1]
    down, across = (
        weights(length, side, shrinks=shrinks, device=images.device)
        for length, side in zip(images.shape[2:], sides, strict=True)
    )
    return down @ images @ across.T


def weights(length: int, size: int, *, shrinks: bool, device: torch.device | str) -> Float32[Tensor, "size length"]:
    """Returns how much each of `length` pixels counts for each of `size` pixels.

    >>> weights(2, 4, shrinks=False, device="cpu").tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    >>> weights(3, 2, shrinks=True, device="cpu")[0].tolist()
    [0.6666666865348816, 0.3333333432674408, 0.0]
    """
    step = length / size
    to = torch.arange(size, dtype=torch.float64, device=device)[:, None]
    of = torch.arange(length, dtype=torch.float64, device=device)
    if shrinks:  # the part of the area
        shares = (torch.minimum((to + 1) * step, of + 1) - torch.maximum(to * step, of)).clamp_(min=0) / step
    else:
        shares = (1 - (((to + 0.5) * step - 0.5).clamp_(0, length - 1) - of).abs()).clamp_(min=0)
    return shares.float()
