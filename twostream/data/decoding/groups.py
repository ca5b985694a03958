"""Reads frames by decoding only the groups of packets that hold them, and of these only what they need."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from os import PathLike
from typing import NamedTuple

import av
import numpy as np
from av import Packet, VideoFrame

from twostream.data.decoding.facts import ONE_PICTURE_CODECS, TIMED_CONTAINERS
from twostream.data.decoding.packets import UnsureError, looker
from twostream.data.decoding.progress import progressing
from twostream.data.decoding.pyav_reader import PyAVReader

MOST_PACKETS = 1000  # of a group, which is in memory as a whole


class Held(NamedTuple):
    """A packet in memory that holds one picture, shown at `time`. No other picture needs it if `is_droppable`."""

    packet: Packet
    time: int
    is_droppable: bool


def read_groups(
    path: str | PathLike[str], wanted: list[int], *, count: int | None = None
) -> dict[int, np.ndarray] | None:
    """Returns the wanted frames (ascending, distinct), or None if it is not certain that they would be exact.

    Raises `VideoError` for a file that cannot be opened.
    """
    needed = set(wanted)
    reader = PyAVReader(path)
    with reader:
        try:
            pictures = pictures_in_groups(reader, wanted, count=count)
            return {index: reader.rgb(picture) for index, picture in pictures if index in needed}
        except (UnsureError, av.FFmpegError):
            return None


def pictures_in_groups(
    reader: PyAVReader, wanted: list[int], *, around: Collection[int] = (), count: int | None = None
) -> Iterator[tuple[int, VideoFrame]]:
    """Yields the wanted pictures (ascending, distinct), and others that were decoded for them, with their indices.

    A group is a packet that needs no earlier one, and all up to the next of that kind; none needs another group. Where
    container and codec store one timed picture in each packet, or the codec says that packets are shown in their order,
    it is known without decoding which frames a group holds. Groups without a wanted frame are not decoded, and of the
    others neither pictures that no other picture needs, nor what follows the last wanted one. What is decoded has to
    give all its pictures, undamaged and in order.

    Of pictures in `around` that start a group, those directly before and after are wanted, too.

    A damaged file may lose pictures in groups that are not decoded. `count`, how many frames decoding the whole file
    gives, shows it: the header has to claim as many, or else all groups together have to hold as many.

    Raises UnsureError, also after it has yielded pictures, if it is not certain that all of them are exact.
    """
    first = 0
    is_confirmed = count in (None, reader.stream.frames)
    for group in _groups(reader):
        end = first + len(group)
        needed = {index for index in wanted if first <= index < end}
        needed |= {end - 1} if end in around else set()
        needed |= {first + 1} if first in around and len(group) > 1 else set()
        if needed:
            for place, picture in _decode(reader, group, sorted(index - first for index in needed)):
                yield first + place, picture
        first = end
        if wanted[-1] < first and is_confirmed:
            return
    if not wanted[-1] < first == count:
        raise UnsureError


def _groups(reader: PyAVReader) -> Iterator[list[Held]]:
    """Yields the groups of a file in order. Raises UnsureError at the first packet that does not fit."""
    is_timed = reader.container.format.name in TIMED_CONTAINERS and reader.codec in ONE_PICTURE_CODECS
    look = looker(reader.codec, reader.stream.codec_context.extradata)
    group: list[Held] = []
    headers, count, is_over = None, 0, False
    latest: float = -math.inf
    for packet in progressing(reader.packets()):
        if is_over or packet.is_corrupt or packet.is_discard or packet.has_sidedata("new_extradata"):
            raise UnsureError
        if not packet.size:  # PyAV marks the end by an empty packet
            is_over = True
            continue
        seen = look(bytes(packet))
        starts = packet.is_keyframe if seen.starts is None else seen.starts
        headers = seen.headers if headers is None else headers
        if not (is_timed or seen.in_order) or seen.headers != (headers if starts else b""):
            raise UnsureError
        if not seen.has_picture:
            continue
        if not is_timed:
            packet.pts = count
        if starts and group:
            yield group
            group = []
        time, before = packet.pts, group[0].time if group else latest  # the latter has to be shown before
        if time is None or time <= before or not (starts or group) or len(group) == MOST_PACKETS:
            raise UnsureError
        group.append(Held(packet, time, seen.is_droppable))
        count, latest = count + 1, max(time, latest)
    if group:
        yield group


def _decode(reader: PyAVReader, group: list[Held], places: list[int]) -> Iterator[tuple[int, VideoFrame]]:
    """Yields the pictures at `places` (ascending), in the order in which they are shown, and those they need."""
    shown = sorted(item.time for item in group)
    place_of = {time: place for place, time in enumerate(shown)}
    if len(place_of) < len(shown):
        raise UnsureError
    fed = to_feed(group, {shown[place] for place in places})
    reader.stream.codec_context.flush_buffers()
    times = []
    for packet in (*(item.packet for item in fed), None):
        for picture in reader.stream.codec_context.decode(packet):
            if picture.is_corrupt or (picture.width, picture.height) != reader.size or picture.pts not in place_of:
                raise UnsureError
            times.append(picture.pts)
            yield place_of[picture.pts], picture
    if times != sorted(item.time for item in fed):
        raise UnsureError


def to_feed(group: list[Held], needed: set[int]) -> list[Held]:
    """Returns the packets of a group that have to be decoded for the pictures shown at the times `needed`."""
    last = max(place for place, item in enumerate(group) if item.time in needed)
    return [item for item in group[: last + 1] if item.time in needed or not item.is_droppable]
