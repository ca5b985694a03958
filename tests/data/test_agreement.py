"""Decoders other than PyAV: the same frames as its sequential ones, or an error that says which decoder to use."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from twostream.cli.work import doctor
from twostream.data.dataset import ClipDataset
from twostream.data.decoding import DECODERS, VideoError, check_decoder, count_frames, iterate_frames, read_frames
from twostream.data.decoding.agreement import BY_PYAV, CLOSE
from twostream.data.decoding.decord_reader import DecordReader
from twostream.data.flow import DIS
from twostream.data.frames import Decoded
from twostream.data.sampling import Chunks
from twostream.data.sources import Video
from twostream.data.storage import index as index_module
from twostream.data.storage.index import update_index
from twostream.data.transform import CentreCrop
from twostream.options.streams import flow, rgb

NUM_FRAMES = 4
EXACT = {  # encoder, pixel format and suffix of what all decoders read: at 64 x 48 none may be refused
    "ffv1 bgr0 avi", "ffv1 gray mkv", "ffv1 yuv420p mkv", "ffvhuff yuv420p avi", "flv yuv420p flv",
    "huffyuv yuv422p avi", "libvpx-vp9 yuv420p webm", "libx264 yuv420p mp4", "libx264 yuv422p mp4",
    "libx264 yuv444p mp4", "libx264 yuvj420p mp4", "libx264rgb rgb24 mp4", "mjpeg yuvj420p avi", "mjpeg yuvj422p avi",
    "mjpeg yuvj444p mov", "mpeg1video yuv420p avi", "mpeg2video yuv422p avi", "mpeg4 yuv420p avi",
    "mpeg4 yuv420p mkv", "mpeg4 yuv420p mp4", "msmpeg4 yuv420p avi", "msmpeg4v2 yuv420p avi", "rawvideo bgr24 avi",
    "rawvideo gray avi", "rawvideo yuv420p avi", "utvideo gbrp avi", "wmv1 yuv420p asf", "wmv2 yuv420p avi",
}  # fmt: skip
OTHERS = {  # read by PyAV; the others refuse what they get wrong
    "cinepak rgb24 avi", "ffv1 yuv410p mkv", "ffv1 yuv411p mkv", "ffv1 yuv420p10le mkv", "ffv1 yuv440p mkv",
    "ffv1 yuva420p mkv", "gif pal8 gif", "jpeg2000 rgb24 avi", "libsvtav1 yuv420p mp4", "libvpx yuv420p webm",
    "libvpx-vp9 gbrp webm", "libx264 yuv420p10le mp4", "magicyuv gbrp avi", "msrle pal8 avi", "msvideo1 rgb555le avi",
    "png gray16be avi", "png pal8 avi", "png rgba avi", "prores yuv422p10le mov", "qtrle gray mov", "qtrle rgb24 mov",
    "rawvideo pal8 avi", "rawvideo rgb555le avi", "rawvideo yuyv422 avi", "rpza rgb555le mov", "smc pal8 mov",
    "svq1 yuv410p mov",
}  # fmt: skip
QUIET = {"libx264": {"log-level": "none"}, "libx264rgb": {"log-level": "none"}, "libsvtav1": {"preset": "12"}}
WIDE = range(2, 101)


@pytest.fixture(params=list(DECODERS))
def decoder(request: pytest.FixtureRequest) -> str:
    try:
        check_decoder(request.param)
    except ImportError as error:
        pytest.skip(str(error))
    return request.param


def picture(number: int, height: int, width: int, pixel_format: str) -> av.VideoFrame:
    """Many colours, another picture for each number."""
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([(5 * x + 9 * number) % 256, (7 * y + 3 * number) % 256, (3 * (x + y) + 20 * number) % 256], -1)
    if pixel_format != "pal8":
        return av.VideoFrame.from_ndarray(rgb.astype(np.uint8), format="rgb24")
    palette = np.stack([np.full(256, 255), *(np.arange(256) * step % 256 for step in (13, 7, 29))], -1)
    return av.VideoFrame.from_ndarray((rgb[..., 0].astype(np.uint8) // 16, palette.astype(np.uint8)), format="pal8")


def write(path: Path, encoder: str, pixel_format: str, *, width: int = 64, height: int = 48, **options: str) -> Path:
    """Raises FFmpegError or NotImplementedError where the encoder cannot do this size."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25, options={**QUIET.get(encoder, {}), **options})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.thread_count = 1
        if encoder == "mpeg4":
            stream.codec_context.max_b_frames = 2
        for number in range(NUM_FRAMES):
            container.mux(stream.encode(picture(number, height, width, pixel_format)))
        container.mux(stream.encode())
    return path


def sequential(path: Path) -> list[np.ndarray]:
    """The truth, without any code of ours."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def outcome(path: Path, decoder: str) -> str:
    """ "exact" or the reason of a VideoError; fails on a wrong frame, on another error, or without advice."""
    truth = sequential(path)
    reasons = []
    for read in (iterate_frames, lambda path, **choice: read_frames(path, range(len(truth)), **choice)):
        try:
            frames = list(read(path, decoder=decoder))
        except VideoError as error:
            reasons.append(error.reason)
            continue
        assert [frame.shape for frame in frames] == [frame.shape for frame in truth]
        worst = max(np.abs(a.astype(int) - b).mean() for a, b in zip(frames, truth, strict=True))
        assert worst <= (CLOSE if decoder not in BY_PYAV else 0), f"{path.name}: {decoder} is off by {worst:.2f}"
        reasons.append("exact")
    assert len(set(reasons)) == 1, reasons
    assert reasons[0] == "exact" or reasons[0].endswith(": use decoder=pyav")
    return reasons[0]


def files(folder: Path, cases: Iterator[tuple[str, int, int]]) -> Iterator[tuple[tuple, Path]]:
    """Each case that this build of PyAV can write, as a file."""
    for kind, width, height in cases:
        encoder, pixel_format, suffix = kind.split()
        path = folder / f"{encoder}-{pixel_format}-{width}x{height}.{suffix}"
        try:
            write(path, encoder, pixel_format, width=width, height=height)
        except (av.FFmpegError, NotImplementedError, ValueError):
            continue
        yield (kind, width, height), path
        path.unlink()


def sweep(folder: Path, decoder: str, cases: Iterator) -> dict[tuple, str]:
    return {case: outcome(path, decoder) for case, path in files(folder, cases)}


def test_codecs_and_formats(tmp_path: Path, decoder: str) -> None:
    found = sweep(tmp_path, decoder, product(sorted(EXACT | OTHERS), [64], [48]))
    refused = {case[0]: reason for case, reason in found.items() if reason != "exact"}
    assert not refused.keys() & EXACT, refused
    assert decoder not in BY_PYAV or not refused
    assert len(found) >= 40, "this build of PyAV writes too few"


@pytest.mark.parametrize("case", ["mpeg4 yuv420p avi", "mjpeg yuvj422p avi", "ffv1 gray mkv"])
def test_sizes(tmp_path: Path, decoder: str, case: str) -> None:
    found = sweep(tmp_path, decoder, product([case], [2, 6, 16, 24, 48, 63, 72, 90], [48, 47]))
    reasons = {key[1:]: reason for key, reason in found.items()}
    assert reasons[90, 48] == "exact"
    if decoder == "decord" and (48, 48) in reasons:
        assert reasons[48, 48] == "decord's frame 0 has shape (48, 48, 4), not (48, 48, 3): use decoder=pyav"
    if decoder not in BY_PYAV and "gray" not in case:
        assert "90 x 47 pixels, an odd number" in reasons[90, 47]
    assert decoder not in BY_PYAV or set(reasons.values()) == {"exact"}


@pytest.mark.slow
@pytest.mark.parametrize("height", [48, 47])
@pytest.mark.parametrize("case", sorted(EXACT | OTHERS))
def test_all_sizes(tmp_path: Path, decoder: str, case: str, height: int) -> None:
    """Widths 2 to 100; the table of what was exact and what was refused is printed with -s."""
    found = sweep(tmp_path, decoder, product([case], WIDE, [height]))
    exact = [key[1] for key, reason in found.items() if reason == "exact"]
    print(f"\n{decoder} {case} x {height}: {len(exact)} widths exact, {len(found) - len(exact)} refused")
    assert decoder not in BY_PYAV or len(exact) == len(found)


# --- kinds of pictures that no width tells ---------------------------------------------------------------------------

needs_x264 = pytest.mark.skipif("libx264" not in av.codecs_available, reason="needs a PyAV with x264")


@needs_x264
@pytest.mark.parametrize(
    ("parameters", "what"),
    [("tff=1", "interlaced pictures in yuv420p"), ("colormatrix=GBR", "pixel format yuv420p marked as RGB")],
)
def test_pictures_that_are_converted_otherwise(tmp_path: Path, decoder: str, parameters: str, what: str) -> None:
    path = write(tmp_path / "a.mp4", "libx264", "yuv420p", **{"x264-params": parameters + ":log-level=none"})
    reason = f"{decoder} is not exact for {what}: use decoder=pyav"
    assert outcome(path, decoder) == ("exact" if decoder in BY_PYAV else reason)


@needs_x264
def test_colours_that_cannot_be_converted_are_an_error(tmp_path: Path, decoder: str) -> None:
    path = write(tmp_path / "a.mp4", "libx264", "yuv420p", **{"x264-params": "colormatrix=YCgCo:log-level=none"})
    with pytest.raises(VideoError, match=r"cannot be converted to RGB \(pyav"):
        read_frames(path, [0], decoder=decoder)


def test_a_palette_is_not_black(tmp_path: Path) -> None:
    """decord by itself says nothing; with us it refuses."""
    path = write(tmp_path / "a.avi", "rawvideo", "pal8")
    with DecordReader(path) as reader:
        naive = [reader.rgb(picture) for picture in reader.pictures()]
    assert np.abs(np.stack(naive).astype(int) - np.stack(sequential(path))).mean() > 20
    assert outcome(path, "decord") == "decord is not exact for pixel format pal8: use decoder=pyav"
    assert outcome(path, "pyav") == "exact"


def test_empty_packets_repeat_the_picture(tmp_path: Path, decoder: str) -> None:
    """As Theora and VP8 write what does not change. FFmpeg by itself takes them for damage."""
    path = tmp_path / "repeated.nut"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        pictures = [picture(number, 48, 64, "yuv420p") for number in range(3)]
        packets = [packet for shown in [*pictures, None] for packet in stream.encode(shown)]
        for place, packet in enumerate([packets[0], None, packets[1], None, None, packets[2]]):
            packet = packet or av.Packet(0)
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 25), place, place
            container.mux(packet)
    if decoder not in BY_PYAV:
        for call in (count_frames, lambda path, **choice: read_frames(path, [0], **choice)):
            with pytest.raises(VideoError, match=f"{decoder} is not exact for codec vp8.*: use decoder=pyav"):
                call(path, decoder=decoder)
        return
    assert count_frames(path) == 6
    frames = read_frames(path, range(6)).astype(int)
    same = (frames[1:] == frames[:-1]).all((1, 2, 3)).tolist()
    assert same == [True, False, True, True, False]


# --- what is short of the count, and who has to say so ---------------------------------------------------------------


class Losing(DecordReader):
    """A decoder that loses every picture behind the first, as decord loses some in QuickTime Animation."""

    def pictures(self) -> Iterator:
        yield next(iter(super().pictures()))


class Wrong(DecordReader):
    """A decoder whose first frame is right and whose others are black."""

    def pictures(self) -> Iterator:
        return enumerate(super().pictures())

    def rgb(self, picture: tuple[int, object]) -> np.ndarray:
        number, shown = picture
        return super().rgb(shown) * (number == 0)


@pytest.fixture
def videos(tmp_path: Path) -> list[Video]:
    paths = [write(tmp_path / name / "a.avi", "mpeg4", "yuv420p") for name in made_folders(tmp_path)]
    paths.append(write(tmp_path / "x" / "pal.avi", "rawvideo", "pal8"))
    return [Video(id=f"{p.parent.name}/{p.name}", path=p, label=i % 2, group=str(i)) for i, p in enumerate(paths)]


def made_folders(root: Path) -> list[str]:
    for name in ("x", "y"):
        (root / name).mkdir()
    return ["x", "y"]


def clips(videos: list[Video], decoder: str, broken: str) -> ClipDataset:
    parts = {"sampling": Chunks(1), "transform": CentreCrop(size=32), "flow": DIS(length=1)}
    return ClipDataset(videos, frame_source=Decoded(decoder), streams=[rgb()], broken=broken, **parts)


def test_too_few_frames_are_an_error_and_can_be_skipped(videos: list[Video], monkeypatch, caplog) -> None:
    monkeypatch.setitem(DECODERS, "decord", Losing)
    with pytest.raises(VideoError, match=r"a.avi: decord finds 1 frames, pyav 4: use decoder=pyav"):
        read_frames(videos[0].path, [3], decoder="decord")
    with pytest.raises(VideoError, match="decord finds 1 frames"):
        list(iterate_frames(videos[0].path, decoder="decord"))
    with pytest.raises(IndexError, match="frame 4 does not exist"):
        read_frames(videos[0].path, [4])
    with pytest.raises(VideoError, match="decord finds 1 frames"):
        clips(videos, "decord", "error")[0, 0]
    dataset = clips(videos, "decord", "skip")
    assert [dataset[0, index] for index in range(3)] == [None] * 3
    assert dataset.unreadable() == [video.id for video in videos]


def test_a_file_that_became_shorter_is_an_error(videos: list[Video]) -> None:
    with pytest.raises(VideoError, match=r"a.avi: has fewer frames than were counted \(frame 9 does not exist"):
        Decoded().read(videos[0], [9])


def test_training_stops_at_or_skips_what_the_decoder_gets_wrong(videos: list[Video], caplog) -> None:
    with pytest.raises(VideoError, match=r"pal.avi: decord is not exact for pixel format pal8: use decoder=pyav"):
        clips(videos, "decord", "error")[0, 2]
    dataset = clips(videos, "decord", "skip")
    assert [dataset[0, index] is None for index in range(3)] == [False, False, True]
    assert dataset.unreadable() == ["x/pal.avi"]
    others = clips(videos, "pyav", "error")
    assert torch.equal(others[0, 0].first, dataset[0, 0].first)  # type: ignore[union-attr]
    assert others[0, 2].first.float().std() > 10, "not black"  # type: ignore[union-attr]


def test_prepare_compares_pixels_and_names_the_file(videos: list[Video], tmp_path: Path, monkeypatch) -> None:
    update = update_index(tmp_path, workers=1, decoder="decord")
    advice = "use decoder=pyav"
    assert [(entry.path, entry.error) for entry in update.broken] == [
        ("x/pal.avi", f"decord is not exact for pixel format pal8: {advice}")
    ]
    assert update_index(tmp_path, workers=1).broken == []
    assert Decoded("decord").count(videos[0]) == 4
    monkeypatch.setitem(DECODERS, "decord", Wrong)
    with pytest.raises(VideoError, match=rf"decord's frame 1 is off by [\d.]+ grey levels on average: {advice}"):
        index_module.Examined("decord").count(videos[0])


def test_doctor_compares_pixels_and_names_the_file(videos: list[Video], monkeypatch) -> None:
    paths = [video.path for video in videos]
    assert doctor.exactness("pyav", paths) == ("exact: 12 frames, differs by at most 0.000 grey levels", [])
    verdict, wrong = doctor.exactness("decord", paths)
    assert verdict.startswith("exact: 8 frames")
    assert wrong == ["pal.avi: decord is not exact for pixel format pal8: use decoder=pyav"]
    monkeypatch.setitem(DECODERS, "decord", Wrong)
    assert len(doctor.exactness("decord", paths)[1]) == 3


def test_a_video_too_small_for_flow_is_an_error_and_can_be_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "narrow.avi", "mpeg4", "yuv420p", width=6)
    dataset = clips([Video(id="narrow", path=path, label=0, group="")], "pyav", "error")
    dataset.streams = (rgb(), flow(dataset.flow.length))
    with pytest.raises(VideoError, match=r"narrow.avi: frames of 48x6: optical flow needs at least 16 pixels a side"):
        dataset[0, 0]
    dataset.broken = "skip"
    assert dataset[0, 0] is None


# --- ../shared/data/odd ----------------------------------------------------------------------------------------------

ODD = {  # what decord does
    "animation.mov": "is not exact for pixel format rgb24",
    "palette.avi": "is not exact for pixel format pal8",
    "repeated.ogv": "is not exact for codec theora",
    "width48.mp4": "frame 0 has shape",
    "width6.mp4": "frame 0 has shape",
}


@pytest.mark.long
@pytest.mark.parametrize("name", ODD)
def test_odd_files(real_data: Path, tmp_path: Path, decoder: str, name: str) -> None:
    path = real_data / "odd" / name
    video = Video(id=name, path=path, label=0, group="")
    (tmp_path / name).symlink_to(path)
    found = update_index(tmp_path, workers=1, decoder=decoder).broken
    _, wrong = doctor.exactness(decoder, [path])
    dataset = clips([video], decoder, "skip")
    if decoder in BY_PYAV or (decoder == "torchcodec" and name.startswith("width")):
        assert read_frames(path, range(12), decoder=decoder).shape[::3] == (12, 3)
        assert (found, wrong, dataset[0, 0] is None) == ([], [], False)
        return
    reason = ODD[name] if decoder == "decord" else "is not exact for"
    for call in (
        lambda: read_frames(path, [0, 11], decoder=decoder),
        lambda: count_frames(path, decoder=decoder),
        lambda: clips([video], decoder, "error")[0, 0],
    ):
        with pytest.raises(VideoError, match=f"{name}: {decoder}.*{reason}.*: use decoder=pyav"):
            call()
    assert [reason in line for line in (found[0].error or "", *wrong)] == [True, True]
    assert dataset[0, 0] is None
    assert dataset.unreadable() == [name]
