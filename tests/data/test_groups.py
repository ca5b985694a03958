"""`decoder=auto` leaves out what wanted frames do not need, and gives them bit for bit as in sequence."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from twostream.data.decoding import VideoError, count_frames, groups, probe, read_frames
from twostream.data.decoding.groups import read_groups
from twostream.data.decoding.packets import Look, UnsureError, looker
from twostream.data.frames import Cached, Decoded, Guarded, Kept
from twostream.data.sources import Video
from twostream.data.storage.index import VideoIndex, examine, update_index

needs_x264 = pytest.mark.skipif("libx264" not in av.codecs_available, reason="needs a PyAV with x264")
HEIGHT, WIDTH = 48, 64


def moving(number: int) -> np.ndarray:
    """A texture that moves, so that pictures are worth predicting from others, and that no other number has."""
    rng = np.random.default_rng(7)
    texture = np.kron(rng.integers(0, 256, (24, 40, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    image = np.roll(texture, (number, 2 * number), (0, 1))[:HEIGHT, :WIDTH].copy()
    image[:8, : 8 + number % 50] = 255 - number
    return image


def write(
    path: Path, codec: str, *, count: int = 40, b_frames: int = 0, times: Callable[[int], int] = int, **options: Any
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 12, b_frames
        stream.codec_context.thread_count = 1
        for number in range(count):
            picture = av.VideoFrame.from_ndarray(moving(number), format="rgb24")
            picture.pts, picture.time_base = times(number), Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def packets_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def rewrite(path: Path, source: Path, change: Callable[[list[bytes]], list[bytes]]) -> Path:
    """Writes an AVI of changed packets."""
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for place, data in enumerate(change(packets_of(source))):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 25), place, place
            packet.is_keyframe = b"\0\0\1\xb0" in data
            made.mux(packet)
    return path


def in_sequence(path: Path) -> np.ndarray:
    """The truth, without any code of ours."""
    with av.open(str(path)) as container:
        return np.stack([picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)])


def asked_of(count: int) -> list[list[int]]:
    spread = [(2 * k + 1) * count // 16 for k in range(8)]
    return [[index] for index in range(count)] + [sorted({*spread}), [0, count - 1], [*range(count)]]


X264: dict[str, dict[str, Any]] = {
    "pyramid.mp4": {"b_frames": 3},
    "pyramid.mkv": {"b_frames": 3},
    "slices.mp4": {"b_frames": 2, "x264-params": "slices=3"},
    "uneven.mp4": {"b_frames": 3, "times": lambda number: number * number},
    "in_order.avi": {},
    "in_order.ts": {},
}
ANEW = {"closed.avi": "mpeg4", "closed.mp4": "mpeg4", "intra.mov": "mjpeg"}  # each 12th packet needs no other, or all


def made(folder: Path, name: str) -> Path:
    if name in X264:
        return write(folder / name, "libx264", **X264[name])
    return write(folder / name, ANEW[name])


@pytest.mark.parametrize("name", [*(pytest.param(name, marks=needs_x264) for name in X264), *ANEW])
def test_every_frame_alone_and_together(tmp_path: Path, name: str) -> None:
    path = made(tmp_path, name)
    truth = in_sequence(path)
    assert len(truth) == 40
    for asked in asked_of(40):
        frames = read_groups(path, asked)
        assert frames is not None, "reads this file in sequence"
        assert list(frames) == asked
        assert all(np.array_equal(frames[index], truth[index]) for index in asked)
    assert read_groups(path, [40]) is None
    assert read_groups(path, [3, 40]) is None


def fed(path: Path, wanted: list[int], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many pictures are decoded for the wanted ones."""
    counts, to_feed = [], groups.to_feed
    with monkeypatch.context() as patch:
        patch.setattr(groups, "to_feed", lambda *given: counts.append(len(found := to_feed(*given))) or found)
        assert read_groups(path, wanted) is not None
    return sum(counts)


def test_groups_without_a_wanted_frame_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.avi", "mpeg4", count=60)  # groups of 12
    assert [fed(path, [index], monkeypatch) for index in (0, 11, 12, 59)] == [1, 12, 1, 12]
    assert fed(path, [3, 5, 26], monkeypatch) == 6 + 3


@needs_x264
def test_pictures_that_none_needs_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = "keyint=250:b-adapt=0:b-pyramid=normal:scenecut=0"
    path = write(tmp_path / "a.mp4", "libx264", count=33, b_frames=3, **dict[str, Any]({"x264-params": params}))
    # in order of decoding: I0 P4 B2 b1 b3 P8 B6 b5 b7 …, where nothing needs those with small letters
    assert [fed(path, [index], monkeypatch) for index in (0, 4, 2, 1, 3, 8, 7)] == [1, 2, 3, 4, 4, 4, 6]
    assert fed(path, [*range(33)], monkeypatch) == 33


def read_like(path: Path, *, in_groups: bool) -> None:
    """Fails unless all frames are as in sequence; `in_groups` says whether any of them may be read otherwise."""
    truth = in_sequence(path)
    assert any(read_groups(path, [index]) for index in range(len(truth))) == in_groups
    for asked in asked_of(len(truth)):
        assert np.array_equal(read_frames(path, asked), truth[asked])
    assert count_frames(path) == len(truth)
    with pytest.raises(IndexError, match=f"has {len(truth)} frames"):
        read_frames(path, [len(truth)])


def without_picture(packet: bytes) -> bytes:
    """MPEG-4's way to say "as before": the picture's head up to the bit that says whether more follows, which is 0."""
    bits = f"{int.from_bytes(packet[4:8], 'big'):032b}"
    place = 2 + bits[2:].index("0") + 2 + 5 + 1  # kind, seconds, mark, time (25 a second: 5 bits), mark
    assert packet[:4] == b"\0\0\1\xb6"
    assert bits[place] == "1"
    return packet[:4] + int((bits[:place] + "0").ljust(32, "1"), 2).to_bytes(4, "big")


def test_packets_without_picture_have_no_number(tmp_path: Path) -> None:
    source = write(tmp_path / "a.avi", "mpeg4")
    for padding in (b"", bytes(30)):  # some writers fill packets up
        path = rewrite(
            tmp_path / f"{len(padding)}.avi",
            source,
            lambda packets, more=padding: [*packets[:5], without_picture(packets[5]) + more, *packets[5:]],
        )
        assert len(packets_of(path)) == 41
        assert len(in_sequence(path)) == 40
        read_like(path, in_groups=True)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("empty packets", lambda packets: [*packets[:20], b"", *packets[20:]]),
        ("two pictures in one", lambda packets: [*packets[:14], packets[14] + packets[15], *packets[16:]]),
        ("no picture at all", lambda packets: [*packets[:14], b"\x7f", *packets[14:]]),
    ],
)
def test_odd_packets_are_read_in_sequence(tmp_path: Path, name: str, change: Callable) -> None:
    path = rewrite(tmp_path / "odd.avi", write(tmp_path / "a.avi", "mpeg4"), change)
    for index in (13, 25, 30):
        try:
            truth = read_frames(path, [index], decoder="pyav")
        except (VideoError, IndexError) as error:
            with pytest.raises(type(error)):
                read_frames(path, [index])
        else:
            assert np.array_equal(read_frames(path, [index]), truth)


@needs_x264
@pytest.mark.parametrize(
    ("name", "b_frames", "params"),
    [
        ("open.mp4", 2, "open-gop=1:keyint=12:min-keyint=12:scenecut=0"),
        ("refresh.mkv", 0, "intra-refresh=1:keyint=12"),
        ("fields.mp4", 2, "tff=1"),
        ("untimed.avi", 2, ""),
    ],
)
def test_h264_that_is_read_in_sequence(tmp_path: Path, name: str, b_frames: int, params: str) -> None:
    """For some frames or all: pictures need others across key pictures, are fields, or reordered without times."""
    path = write(tmp_path / name, "libx264", b_frames=b_frames, **dict[str, Any]({"x264-params": params}))
    truth = in_sequence(path)
    for asked in asked_of(40):
        assert np.array_equal(read_frames(path, asked), truth[asked])


def test_b_pictures_of_mpeg4_are_read_in_sequence(tmp_path: Path) -> None:
    read_like(write(tmp_path / "a.avi", "mpeg4", b_frames=2), in_groups=False)


def test_parameters_that_change_on_the_way_are_read_in_sequence(tmp_path: Path) -> None:
    """The second half has another quantiser matrix; its key pictures alone say so."""
    half = packets_of(write(tmp_path / "b.avi", "mpeg4", mpeg_quant="1"))
    path = rewrite(tmp_path / "c.avi", write(tmp_path / "a.avi", "mpeg4"), lambda packets: packets[:24] + half[24:])
    assert read_groups(path, [11]) is not None
    assert read_groups(path, [24]) is None
    truth = in_sequence(path)
    assert all(np.array_equal(read_frames(path, [index])[0], truth[index]) for index in range(len(truth)))


@pytest.mark.parametrize("place", [2, 12, 30])
def test_damage_that_the_codec_repairs(tmp_path: Path, place: int) -> None:
    """How depends on the picture before, even for a key picture: so the damaged group is read from the start."""

    def change(packets: list[bytes]) -> list[bytes]:
        data = packets[place]
        middle = len(data) // 2
        return [*packets[:place], data[:middle] + bytes(len(data) - middle), *packets[place + 1 :]]

    path = rewrite(tmp_path / "damaged.avi", write(tmp_path / "a.avi", "mpeg4"), change)
    truth = in_sequence(path)
    assert read_groups(path, [place]) is None
    for asked in asked_of(len(truth)):
        assert np.array_equal(read_frames(path, asked), truth[asked])


@needs_x264
@pytest.mark.parametrize("name", ["pyramid.mp4", "in_order.avi"])
def test_a_lost_picture_that_nobody_looks_at_is_missed_by_the_count(tmp_path: Path, name: str) -> None:
    """A changed slice header: FFmpeg leaves the picture out, in a group that later frames do not need."""
    path = made(tmp_path, name)
    content, packet = bytearray(path.read_bytes()), packets_of(path)[3]
    content[content.find(packet) + 5] = 0xFF
    path.write_bytes(content)
    truth, count = in_sequence(path), count_frames(path)
    assert count == len(truth) < 40
    alone = read_groups(path, [12])
    assert alone is not None
    assert not np.array_equal(alone[12], truth[12]), "counted by its packets"
    assert read_groups(path, [12], count=count) is None
    assert np.array_equal(read_frames(path, [12], count=count)[0], truth[12])
    video = Video(id="a", path=path, label=0, group="")
    assert np.array_equal(Cached(Guarded(Decoded(), 60), Kept(tmp_path)).read(video, [12], count)[0], truth[12])
    assert np.array_equal(Guarded(Decoded(), 60).read(video, [12], count)[0], truth[12])


def test_a_header_that_claims_another_number_costs_no_more_than_looking(tmp_path: Path) -> None:
    """The packets hold as many pictures as were counted: groups are read after all."""
    path = write(tmp_path / "a.avi", "mpeg4")
    content = bytearray(path.read_bytes())
    at = content.find(b"strh") + 40  # the length of the stream
    assert content[at] == 40
    content[at] = 41
    path.write_bytes(content)
    assert probe(path).header_frames == 41
    found = read_groups(path, [3], count=40)
    assert found is not None
    assert np.array_equal(found[3], in_sequence(path)[3])


@pytest.mark.parametrize("suffix", ["avi", pytest.param("mkv", marks=needs_x264)])
@pytest.mark.parametrize("part", [0.6, 0.8, 0.95])
def test_files_that_are_cut_off(tmp_path: Path, suffix: str, part: float) -> None:
    whole = tmp_path / f"whole.{suffix}"
    content = write(
        whole, "libx264" if suffix == "mkv" else "mpeg4", count=90, b_frames=2 * (suffix == "mkv")
    ).read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(content[: int(part * len(content))])
    read_like(path, in_groups=True)


def test_a_group_without_end_is_read_in_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its packets would have to be in memory as a whole."""
    monkeypatch.setattr(groups, "MOST_PACKETS", 11)
    assert read_groups(write(tmp_path / "a.avi", "mpeg4"), [0]) is None


@pytest.mark.parametrize("codec", ["mpeg4", "h264"])
def test_foreign_bytes_are_unsure(codec: str) -> None:
    rng = np.random.default_rng(0)
    for head in (b"", b"\0\0\1\xb6", b"\0\0\1\x20", b"\0\0\1\x67", b"\1"):
        for size in range(40):
            data = head + rng.bytes(size)
            with suppress(UnsureError):
                assert isinstance(looker(codec, data)(data), Look)


def test_the_index_of_pyav_is_that_of_auto(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", "mpeg4")
    update_index(tmp_path, workers=1, decoder="pyav")
    assert [VideoIndex(tmp_path).count(path, decoder) for decoder in ("auto", "pyav", "decord")] == [40, 40, None]
    assert update_index(tmp_path, workers=1).examined == 0
    update_index(tmp_path, workers=1, decoder="decord")
    assert VideoIndex(tmp_path).count(path, "auto") == 40


def test_preparing_compares_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.avi", "mpeg4")
    wrong = read_groups(path, [0]) or {}
    monkeypatch.setattr(
        "twostream.data.decoding.frames.read_groups", lambda path, wanted: dict.fromkeys(wanted, wrong[0])
    )
    error = examine(tmp_path, "auto", path.name).error or ""
    assert re.fullmatch(r"auto's frame 10 is off by [\d.]+ grey levels on average: use decoder=pyav", error)
    assert examine(tmp_path, "pyav", path.name).num_frames == 40


# --- real clips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_real_clips_bit_for_bit(real_data: Path, every: int) -> None:
    paths = sorted([*real_data.glob("UCF-101/*/*.avi"), *real_data.glob("ucf101_extra/*.avi")])[::every]
    assert len(paths) >= 64 // every
    read = 0
    for path in [*paths, *real_data.glob("hmdb51/*/*.avi")]:
        count = count_frames(path)
        asked = np.random.default_rng(0).choice(count, 8)
        assert np.array_equal(read_frames(path, asked), read_frames(path, asked, decoder="pyav")), path.name
        read += read_groups(path, [count - 1]) is not None
    assert read >= 0.9 * len(paths)


def test_hard_files_bit_for_bit(real_data: Path) -> None:
    for path in sorted([*real_data.glob("hard/**/*"), *real_data.glob("odd/*")]):
        try:
            count = count_frames(path) if path.is_file() else 0
        except VideoError:
            continue
        asked = sorted({k * (count - 1) // 7 for k in range(8)}) if count else []
        if asked:
            assert np.array_equal(read_frames(path, asked), read_frames(path, asked, decoder="pyav")), path.name
