"""What a packet says of its picture without being decoded: in MPEG-4 (ISO 14496-2, 6.2) and H.264 (ITU-T, 7.3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

VOP = b"\0\0\1\xb6"  # the code in front of an MPEG-4 picture
TIME_CODE = b"\0\0\1\xb3"  # the one in front of a group's time of day
LAYER = re.compile(b"\0\0\1[\x20-\x2f]")
STUDIO = (14, 15)  # kinds of MPEG-4 that are written otherwise
EXTENDED_PIXEL = 15

SLICE, KEY_SLICE, SEQUENCE, PICTURE = 1, 5, 7, 8  # kinds of H.264 units
REMARKS = {6, 9, 12}  # supplementary information, delimiter, filler
KNOWN = {SLICE, KEY_SLICE, SEQUENCE, PICTURE, 10, 11, *REMARKS}  # and the ends of a sequence and a stream
HIGH_PROFILES = (44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244)
ALL_COLOUR = 3
IN_ORDER = 2


class UnsureError(Exception):
    """It cannot be told for certain which frames these packets hold, or what decoding these frames needs."""


class Look(NamedTuple):
    """What a packet says. `headers` are the parameters in it, for itself and later packets."""

    headers: bytes = b""
    has_picture: bool = True
    starts: bool | None = None  # whether no packet from here on needs an earlier one; None: it does not say
    is_droppable: bool = False  # whether no other picture needs this one
    in_order: bool = False  # whether pictures are shown in the order of their packets


def looker(codec: str, extradata: bytes | None) -> Callable[[bytes], Look]:
    """Returns the function that is given each packet of a stream in order. Both raise UnsureError."""
    kind = {"mpeg4": MPEG4, "h264": H264}.get(codec)
    return kind(extradata or b"") if kind else lambda packet: Look()


class MPEG4:
    """Looks into MPEG-4 of I and P pictures, which are shown in order. Unsure of all others, and of two in a packet."""

    def __init__(self, extradata: bytes) -> None:
        self._time_bits = 0
        self._read_layer(extradata)

    def __call__(self, packet: bytes) -> Look:
        start = packet.find(VOP)
        if start < 0 or packet.find(VOP, start + 1) >= 0:
            raise UnsureError
        headers = packet[:start].partition(TIME_CODE)[0]
        self._read_layer(headers)
        bits = Bits(packet[start + len(VOP) : start + 64])
        kind = bits.read(2)
        while bits.read(1):  # whole seconds
            pass
        marked = bits.read(1), bits.read(self._time_bits), bits.read(1)
        if kind > 1 or not (marked[0] and marked[2] and self._time_bits):
            raise UnsureError
        return Look(headers, has_picture=bool(bits.read(1)), starts=kind == 0, in_order=True)

    def _read_layer(self, headers: bytes) -> None:
        """Learns from the last video object layer in `headers`, if any, how long a picture's time is, in bits."""
        for layer in LAYER.finditer(headers):
            bits = Bits(headers[layer.end() : layer.end() + 64])
            bits.read(1)
            if bits.read(8) in STUDIO:
                raise UnsureError
            if bits.read(1):  # a version
                bits.read(7)
            if bits.read(4) == EXTENDED_PIXEL:
                bits.read(16)
            if bits.read(1):  # chroma format and low delay
                bits.read(3)
                if bits.read(1):  # buffer sizes
                    bits.read(79)
            if bits.read(2):  # a shape
                raise UnsureError
            bits.read(1)
            self._time_bits = max(1, (bits.read(16) - 1).bit_length())


class H264:
    """Looks into H.264 of one whole frame a packet. Unsure of fields, data partitions and further views."""

    def __init__(self, extradata: bytes) -> None:
        self._length_bytes = 0  # of the number in front of a unit; 0: codes separate units (Annex B)
        self._in_order: bool | None = None
        if extradata[:1] == b"\1" and len(extradata) > 6:  # ISO 14496-15, 5.3.3.1
            self._length_bytes = (extradata[4] & 3) + 1
            rest = extradata[6:]
            for _ in range(extradata[5] & 31):
                size = int.from_bytes(rest[:2], "big")
                self._read_sequence(rest[2 : 2 + size])
                rest = rest[2 + size :]
        else:
            self._read_sequences(self._units(extradata))

    def __call__(self, packet: bytes) -> Look:
        headers, kinds, pictures, is_needed = b"", set(), 0, 0
        for unit in self._units(packet):
            kind = unit[0] & 31
            kinds.add(kind)
            if kind in (SLICE, KEY_SLICE):
                pictures += unit[1] >> 7  # a slice that begins with a picture's first block
                is_needed |= unit[0] & 0x60
            elif kind in (SEQUENCE, PICTURE):
                headers += unit
                self._read_sequences([unit])
        if pictures != 1 or self._in_order is None or not kinds <= KNOWN:
            raise UnsureError
        return Look(
            headers,
            starts=KEY_SLICE in kinds,
            is_droppable=not is_needed and kinds <= {SLICE, *REMARKS},
            in_order=self._in_order,
        )

    def _units(self, packet: bytes) -> Iterator[bytes]:
        if not self._length_bytes:
            yield from (unit.rstrip(b"\0") + b"\0" for unit in packet.split(b"\0\0\1")[1:])
        place = 0
        while self._length_bytes and place < len(packet):
            start = place + self._length_bytes
            place = start + int.from_bytes(packet[place:start], "big")
            if place > len(packet) or place < start + 2:
                raise UnsureError
            yield packet[start:place]

    def _read_sequences(self, units: Iterable[bytes]) -> None:
        for unit in units:
            if unit[0] & 31 == SEQUENCE:
                self._read_sequence(unit)

    def _read_sequence(self, unit: bytes) -> None:
        """Learns from a sequence parameter set whether pictures are shown in order. Unsure if it allows fields."""
        bits = Bits(unit[1:].replace(b"\0\0\3", b"\0\0"))
        profile = bits.read(8)
        bits.read(16)
        bits.number()
        if profile in HIGH_PROFILES:
            if bits.number() == ALL_COLOUR:
                bits.read(1)
            bits.number()
            bits.number()
            if bits.read(2) & 1:  # scaling matrices
                raise UnsureError
        bits.number()
        order = bits.number()
        if order == 0:
            bits.number()
        elif order != IN_ORDER:
            raise UnsureError
        bits.number()
        bits.read(1)
        bits.number()
        bits.number()
        if not bits.read(1):  # fields
            raise UnsureError
        self._in_order = order == IN_ORDER


class Bits:
    """Reads numbers from bytes, most significant bit first. Raises UnsureError at the end.

    >>> bits = Bits(bytes([0b10100110]))
    >>> bits.read(2), bits.number(), bits.number()
    (2, 0, 5)
    """

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int) -> int:
        """Returns the next `count` bits as a number."""
        self._left -= count
        if self._left < 0:
            raise UnsureError
        return self._value >> self._left & ((1 << count) - 1)

    def number(self) -> int:
        """Returns the next number of H.264's code of variable length (9.1)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)
