"""Clean copies: the same frames under the same index, reachable through keyframes; and wrong copies are noticed."""

from __future__ import annotations

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from small_videos import picture, write_video

from twostream.data.decoding import VideoError, count_frames, probe, read_frames
from twostream.data.prepare import reencode as module
from twostream.data.prepare.reencode import reencode


def keyframes(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    return [index for index, packet in enumerate(packets) if packet.is_keyframe]


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize(
    ("suffix", "container", "safe"),
    [
        (".avi", "avi", False),  # AVI does not say when a frame is shown
        (".mp4", "mov,mp4,m4a,3gp,3g2,mj2", True),
        (".mkv", "matroska,webm", True),
        (".MPG", "mov,mp4,m4a,3gp,3g2,mj2", True),
    ],
)
def test_same_frames_same_name(tmp_path: Path, suffix: str, container: str, safe: bool, decoder: str) -> None:
    """30 frames, keyframes 0, 12 and 24 at least; each frame within 4 grey levels of what was drawn, 10 from others."""
    source = write_video(tmp_path / "a.avi", 30).rename(tmp_path / f"a{suffix}")
    copy = tmp_path / "copies" / source.name
    assert reencode(source, copy, decoder=decoder) == (True, copy.stat().st_size)
    facts = probe(copy)
    assert (facts.codec, facts.container, facts.width, facts.height, facts.fps) == ("h264", container, 64, 48, 25.0)
    assert (facts.has_b_frames, facts.random_access_safe) == (False, safe)
    assert count_frames(copy, decoder=decoder) == 30
    assert set(keyframes(copy)) >= {0}
    assert max(np.diff([*keyframes(copy), 30])) <= 12
    frames = read_frames(copy, range(30), decoder=decoder).astype(float)
    originals = read_frames(source, range(30), decoder=decoder).astype(float)
    assert np.abs(frames - originals).mean(axis=(1, 2, 3)).max() < 4
    assert np.abs(frames[1:] - originals[:-1])[:, 8:24].mean() > 10
    assert os.listdir(copy.parent) == [copy.name]


def test_smaller_side_and_odd_sizes(tmp_path: Path) -> None:
    """63×101 to a short side of 32: 101 · 32 / 63 = 51.3, the next even number is 52 (2 · round(25.65))."""
    source = write_video(tmp_path / "a.avi", 3, size=(63, 101), codec="mjpeg")
    reencode(source, tmp_path / "odd.avi")
    reencode(source, tmp_path / "small.avi", short_side=32)
    reencode(source, tmp_path / "large.avi", short_side=200)
    odd, small, large = (read_frames(tmp_path / f"{name}.avi", [2])[0] for name in ("odd", "small", "large"))
    assert odd.shape == large.shape == (62, 100, 3)
    assert small.shape == (32, 52, 3)
    drawn = picture(2, 63, 101)
    assert np.abs(odd.astype(int) - drawn[:62, :100]).mean() < 8
    smaller = cv2.resize(drawn, (52, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - smaller).mean() < 8


@pytest.mark.parametrize("short_side", [33, 8, 0, -2])
def test_sides_that_cannot_be(tmp_path: Path, short_side: int) -> None:
    with pytest.raises(ValueError, match=f"short_side={short_side}: must be even, and at least 16"):
        reencode(tmp_path / "a.avi", tmp_path / "b.avi", short_side=short_side)


def test_what_is_there_is_left_alone_unless_it_is_something_else(tmp_path: Path) -> None:
    source, copy = write_video(tmp_path / "a.avi", 5), tmp_path / "b.avi"
    assert reencode(source, copy).made
    written = copy.stat()
    assert reencode(source, copy) == (False, written.st_size)
    assert copy.stat() == written
    os.utime(source, ns=(0, 12345))
    assert not reencode(source, copy).made, "another time, the same bytes"
    assert reencode(source, copy, short_side=32).made
    write_video(source, 6)
    assert reencode(source, copy, short_side=32).made
    assert count_frames(copy) == 6
    copy.write_bytes(copy.read_bytes()[:20])
    assert reencode(source, copy, short_side=32).made
    copy.write_bytes(source.read_bytes())
    assert reencode(source, copy, short_side=32).made, "somebody else's file"


def spoil(monkeypatch: pytest.MonkeyPatch, change) -> None:
    """The frames of the copy are `change` of those of the original; it is compared with the true ones."""
    original, calls = module._frames, []

    def frames(*arguments):
        calls.append(arguments)
        found = list(original(*arguments))
        return iter(change(found) if len(calls) == 1 else found)

    monkeypatch.setattr(module, "_frames", frames)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda frames: frames[:-1], r"frame 9 has shape None, not \(48, 64, 3\)"),
        (lambda frames: [*frames, frames[-1]], r"frame 10 has shape \(48, 64, 3\), not None"),
        (lambda frames: [frames[0], *frames[:-1]], "frame 1 (shows the one before it|is off)"),
        (lambda frames: [*frames[:5], frames[4], *frames[6:]], "frame 5 (shows the one before it|is off)"),
        (lambda frames: [*frames[:7], 255 - frames[7], *frames[8:]], "frame 7 is off by .* grey levels on average"),
        (lambda frames: [frame[:, :62].copy() for frame in frames], r"frame 0 has shape \(48, 62, 3\), not"),
    ],
    ids=["one lost", "one more", "late by one", "one repeated", "one wrong", "narrower"],
)
def test_wrong_copies_are_refused_and_removed(tmp_path: Path, monkeypatch, change, reason: str) -> None:
    source = write_video(tmp_path / "a.avi", 10)
    spoil(monkeypatch, change)
    with pytest.raises(VideoError, match=rf"a\.avi: copy is wrong: {reason}"):
        reencode(source, tmp_path / "b.avi")
    assert os.listdir(tmp_path) == ["a.avi"]


@pytest.mark.parametrize("comment", ["[" * 100_000, "[1]", "7", '{"short_side": null}', "\x00", "NaN"])
def test_records_of_anybody_are_those_of_no_copy(tmp_path: Path, comment: str) -> None:
    source = write_video(tmp_path / "a.avi", 3)
    with av.open(str(tmp_path / "copy.mkv"), "w") as output:
        output.metadata["comment"] = comment
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        output.mux(stream.encode(None))
    assert not module.is_copy(tmp_path / "copy.mkv", source, {"short_side": None})


def test_broken_originals_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_text("<html>")
    with pytest.raises(VideoError, match="web page"):
        reencode(tmp_path / "a.avi", tmp_path / "b.avi")
    assert os.listdir(tmp_path) == ["a.avi"]


@pytest.mark.long
def test_real_clips(real_data: Path, tmp_path: Path) -> None:
    """The clip whose header counts a frame too many, one to be turned, one of unequal times, one with B-frames."""
    derived = real_data / "hard" / "derived"
    for source, count, size in (
        (real_data / "ucf101_extra" / "v_Kayaking_g12_c03.avi", 371, (320, 240)),
        (derived / "rotate90_flag.mp4", 60, (240, 320)),
        (derived / "vfr.mp4", 33, (320, 240)),
        (derived / "long_gop_bframes.mp4", 60, (320, 240)),
    ):
        reencode(source, tmp_path / source.name)
        facts = probe(tmp_path / source.name)
        assert (facts.width, facts.height, facts.rotation, facts.has_b_frames) == (*size, 0, False)
        assert count_frames(tmp_path / source.name) == facts.header_frames == count
