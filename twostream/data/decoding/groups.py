"""Reads frames by decoding only the groups of packets that hold them, and of these only what they need."""

from __future__ import annotations

import math
from collections.abc import Iterator
from os import PathLike
from typing import NamedTuple

import av
import numpy as np
from av import Packet

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


def read_groups(path: str | PathLike[str], wanted: list[int]) -> dict[int, np.ndarray] | None:
    """Returns the wanted frames (ascending, distinct), or None if it is not certain that they would be exact.

    A group is a packet that needs no earlier one, and all up to the next of that kind; none needs another group. Where
    container and codec store one timed picture in each packet, or the codec says that packets are shown in their order,
    it is known without decoding which frames a group holds. Groups without a wanted frame are not decoded, and of the
    others neither pictures that no other picture needs, nor what follows the last wanted one. What is decoded has to
    give all its pictures, undamaged and in order. Raises `VideoError` for a file that cannot be opened.
    """
    frames: dict[int, np.ndarray] = {}
    first = 0
    reader = PyAVReader(path)
    with reader:
        try:
            for group in _groups(reader):
                needed = [index - first for index in wanted if first <= index < first + len(group)]
                if needed:
                    decoded = _decode(reader, group, needed)
                    frames |= {first + place: frame for place, frame in zip(needed, decoded, strict=True)}
                first += len(group)
                if wanted[-1] < first:
                    return frames
        except (UnsureError, av.FFmpegError):
            pass
    return None


def _groups(reader: PyAVReader) -> Iterator[list[Held]]:
    """Yields the groups of a file in order. Raises UnsureError at the first packet that does not fit."""
    is_timed = reader.container.format.name in TIMED_CONTAINERS and reader.codec in ONE_PICTURE_CODECS
    look = looker(reader.codec, reader.stream.codec_context.extradata)
    group: list[Held] = []
    headers, count, is_over = None, 0, False
    latest: float = -math.inf
    for packet in progressing(reader.container.demux(reader.stream)):
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


def _decode(reader: PyAVReader, group: list[Held], places: list[int]) -> list[np.ndarray]:
    """Returns pictures of a group by their `places` (ascending) in the order in which they are shown."""
    shown = sorted(item.time for item in group)
    if len(set(shown)) < len(shown):
        raise UnsureError
    needed = {shown[place] for place in places}
    fed = to_feed(group, needed)
    reader.stream.codec_context.flush_buffers()
    times, frames = [], []
    for packet in (*(item.packet for item in fed), None):
        for picture in reader.stream.codec_context.decode(packet):
            if picture.is_corrupt or (picture.width, picture.height) != reader.size:
                raise UnsureError
            times.append(picture.pts)
            if picture.pts in needed:
                frames.append(reader.rgb(picture))
    if times != sorted(item.time for item in fed):
        raise UnsureError
    return frames


def to_feed(group: list[Held], needed: set[int]) -> list[Held]:
    """Returns the packets of a group that have to be decoded for the pictures shown at the times `needed`."""
    last = max(place for place, item in enumerate(group) if item.time in needed)
    return [item for item in group[: last + 1] if item.time in needed or not item.is_droppable]
