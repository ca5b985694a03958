"""What counts as a video by its name, and what may be meant by a name that is absent."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import av
import numpy as np
import pytest

from twostream.data.decoding import VideoError, probe, read_frames
from twostream.files.errors import one_line
from twostream.files.video_files import near, videos_below, why_absent

NFC, NFD = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize(
    ("suffix", "container", "codec", "pixels"),
    [
        (".ts", "mpegts", "mpeg2video", "yuv420p"),
        (".m2ts", "mpegts", "libx264", "yuv420p"),
        (".gif", "gif", "gif", "rgb8"),
        (".wmv", "asf", "wmv2", "yuv420p"),
        (".flv", "flv", "flv", "yuv420p"),
        (".vob", "vob", "mpeg2video", "yuv420p"),
        (".3g2", "3g2", "mpeg4", "yuv420p"),
        (".mxf", "mxf", "mpeg2video", "yuv420p"),
        (".h264", "h264", "libx264", "yuv420p"),
        (".mjpg", "mjpeg", "mjpeg", "yuvj420p"),
        (".y4m", "yuv4mpegpipe", "wrapped_avframe", "yuv420p"),
        (".rmvb", "rm", "rv20", "yuv420p"),
    ],
)
def test_suffixes_that_pyav_reads_are_videos(
    tmp_path: Path, suffix: str, container: str, codec: str, pixels: str
) -> None:
    path = tmp_path / f"v{suffix.upper()}"
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 176, 144, pixels
        for red in (0, 250) * 4:  # below that, MPEG-TS is too short to be recognised
            picture = np.full((144, 176, 3), (red, 120, 0), np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    assert list(videos_below(tmp_path, tmp_path)) == [path.name]
    frames = read_frames(path, [0, 1], decoder="pyav")
    assert frames.mean((1, 2))[:, 0] == pytest.approx([0, 250], abs=8)


def test_folders_of_systems_and_hidden_files_are_not_the_users(tmp_path: Path) -> None:
    for name in ("a/1.mp4", "a/@eaDir/1.mp4", "__MACOSX/a/1.mp4", "a/._1.mp4", ".git/1.mp4", "lost+found/1.mp4"):
        touch(tmp_path / name)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert list(videos_below(tmp_path, tmp_path)) == ["a/1.mp4"]


@pytest.mark.parametrize(
    ("there", "asked", "hint"),
    [
        ("Walk/1.mp4", "walk/1.mp4", "there is Walk/1.mp4: upper and lower case differ"),
        ("walk/1.mp4", "walk/1.MP4", "there is 1.mp4: upper and lower case differ"),
        ("walk/1.mp4", "walk/1.mov", "there is 1.mp4: another suffix"),
        ("walk/1.mp4", "walk/1", "there is 1.mp4: another suffix"),
        ("walk/1.mp4", "Walk/1.avi", "there is walk/1.mp4: upper and lower case differ, another suffix"),
        (f"{NFD}/1.mp4", f"{NFC}/1.mp4", f"there is {NFD}/1.mp4: the same letters in two Unicode forms, NFC and NFD"),
        ("open  door/1.mp4", "open door/1.mp4", "there is open  door/1.mp4: spaces, case or Unicode forms differ"),
        (f"{NFC}/1.mp4", os.fsdecode(NFC.encode("cp1252")) + "/1.mp4", "there is .*: the list is not written in UTF-8"),
        ("walk/1.mp4", "walk/2.mp4", None),
        ("walk/1.txt", "walk/1.mp4", None),
        ("walk", "walk/1.mp4", None),
    ],
)
def test_an_absent_file_is_told_what_is_there_instead(tmp_path: Path, there: str, asked: str, hint: str | None) -> None:
    touch(tmp_path / there)
    if (tmp_path / asked).exists():
        pytest.skip("this file system takes both names for one")
    with pytest.raises(VideoError) as caught:
        probe(tmp_path / asked)
    expected = "" if hint is None else rf" \({hint}\)"
    assert caught.match(rf"cannot be opened \((No such file|Not a) .*directory\){expected}$")
    assert near(tmp_path / asked) == "" or hint is not None


def test_addresses_are_told_apart_from_files() -> None:
    for address in ("https://host/a.mp4", "rtsp://camera:554/1", Path("http://host/a.mp4")):
        with pytest.raises(VideoError, match=r"a?: is an address, and only files on this machine are read: download"):
            probe(address)
    assert "is an address" not in (why_absent("folder/a:b/1.mp4") or "")


def test_an_error_of_a_loaders_worker_is_its_message_alone() -> None:
    text = (
        "Caught VideoError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "fetch.py", line 54, in fetch\n    data = self.dataset[index]\n'
        "twostream.files.video_files.VideoError: a.mp4: has 60 frames, and b.mp4 has 187\n"
    )
    assert one_line(VideoError(text)) == "a.mp4: has 60 frames, and b.mp4 has 187"
