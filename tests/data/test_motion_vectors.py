"""Motion vectors are those of videos that are encoded here, of a texture that moves by a known number of pixels."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from twostream.data.dataset import ClipDataset
from twostream.data.decoding import (
    NoVectorsError,
    VideoError,
    count_frames,
    iterate_motion,
    read_frames,
    read_moving,
    require_vectors,
    timed_frames,
)
from twostream.data.decoding.groups import pictures_in_groups, read_groups
from twostream.data.decoding.motion import MotionReader
from twostream.data.decoding.vectors import _filled, field_size
from twostream.data.flow import MotionVectors
from twostream.data.frames import Cached, Decoded, Guarded, Kept
from twostream.data.sampling import Segments
from twostream.data.sources import Video
from twostream.data.storage.flow_store import FlowStore, FromVideo, StoreClip, make_store
from twostream.data.storage.packed import Packed, pack_clip
from twostream.data.transform import Box, CentreCrop, crop_cells
from twostream.data.windows import View, Windows, steps
from twostream.options.streams import Stream, flow, rgb

HEIGHT, WIDTH, FRAMES = 128, 192, 15
RIGHT_DOWN = (4, -2)  # pixels a frame: what flow=dis finds between frame i and i+1 is (4, -2)
ENCODERS = {  # name of the file: encoder, B pictures in a row, options
    "mpeg4.avi": ("mpeg4", 0, {}),
    "mpeg4-b.avi": ("mpeg4", 2, {}),
    "mpeg1.mpg": ("mpeg1video", 0, {}),
    "mpeg2-b.mpg": ("mpeg2video", 2, {}),
    "h263.avi": ("h263p", 0, {}),
    "flv1.flv": ("flv", 0, {}),
    "msmpeg4v2.avi": ("msmpeg4v2", 0, {}),
    "msmpeg4v3.avi": ("msmpeg4", 0, {}),
    "wmv1.avi": ("wmv1", 0, {}),
    "wmv2.avi": ("wmv2", 0, {}),
    "h264.mp4": ("libx264", 0, {"refs": "1"}),
    "h264-many-references.mp4": ("libx264", 0, {"refs": "4"}),
    "h264-b.mp4": ("libx264", 2, {"refs": "1", "x264-params": "b-adapt=0:b-pyramid=none"}),
    "h264-b-pyramid.mp4": ("libx264", 3, {"refs": "1", "x264-params": "b-adapt=0:b-pyramid=strict"}),
    "h264-b-pyramid.avi": ("libx264", 3, {"refs": "1", "x264-params": "b-adapt=0:b-pyramid=strict"}),
}


def texture(height: int = 400, width: int = 520) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 16, 235, cv2.NORM_MINMAX)  # type: ignore[call-overload]


def moved(places: Sequence[tuple[int, int]], height: int = HEIGHT, width: int = WIDTH) -> list[np.ndarray]:
    """A frame for each place (right, down) to which the texture has moved."""
    whole = texture()
    return [np.ascontiguousarray(whole[160 - y : 160 - y + height, 200 - x : 200 - x + width]) for x, y in places]


def steady(count: int = FRAMES, **size: int) -> list[np.ndarray]:
    return moved([(RIGHT_DOWN[0] * i, RIGHT_DOWN[1] * i) for i in range(count)], **size)


def film(path: Path, frames: Sequence[np.ndarray], encoder: str = "mpeg4", b: int = 0, **options: str) -> Path:
    """Writes grey frames, with a key picture every 12."""
    if encoder not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {encoder}")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25, options={"threads": "1", **options})
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = int(options.get("g", 12)), b
        stream.codec_context.time_base, stream.codec_context.bit_rate = Fraction(1, 25), 8_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())
    return path


def pixels(field: np.ndarray, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """The median of a field in pixels of the frame: (right, down)."""
    rows, columns = field.shape[:2]
    return np.median(field, axis=(0, 1)) * [width / columns, height / rows]


@pytest.fixture(scope="module")
def mpeg4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("clips") / "mpeg4.avi", steady(40))


# ---------------------------------------------------------------- what a field says


@pytest.mark.parametrize("name", ENCODERS)
def test_every_codec_gives_a_known_motion_between_all_frames(tmp_path: Path, name: str) -> None:
    encoder, b, options = ENCODERS[name]
    path = film(tmp_path / name, steady(), encoder, b, **options)
    fields = list(iterate_motion(path))
    assert len(fields) == count_frames(path) - 1
    for index, field in enumerate(fields):
        assert field.dtype == np.float32
        assert field.shape == (HEIGHT // 8, WIDTH // 8, 2)
        assert pixels(field) == pytest.approx(RIGHT_DOWN, abs=0.26), index  # H.264 has quarters, others halves


def test_a_vector_of_p_pictures_spans_as_many_frames_as_b_pictures_are_skipped(tmp_path: Path) -> None:
    """MPEG-4's B pictures come without vectors from FFmpeg: each interval has its share of the next P picture's."""
    speeds = [0, 3, 3, 3, 4, 4, 4, 3, 3, 3, 2, 2]
    path = film(tmp_path / "clip.avi", moved([(x, 0) for x in np.cumsum(speeds).tolist()]), b=2, b_strategy="0")
    with av.open(str(path)) as container:
        assert "".join("?IPB"[picture.pict_type] for picture in container.decode(video=0)).startswith("IBBPBBPBBPB")
    found = [pixels(field)[0] for field in iterate_motion(path)]
    assert found[:9] == pytest.approx(speeds[1:10], abs=0.2)


def test_a_key_picture_has_the_mean_of_the_fields_around_it(tmp_path: Path) -> None:
    speeds = [0, *[2] * 11, 5, *[4] * 7]  # picture 12 is a key picture
    path = film(tmp_path / "clip.avi", moved([(x, 0) for x in np.cumsum(speeds).tolist()]))
    found = [pixels(field)[0] for field in iterate_motion(path)]
    assert found[10:13] == pytest.approx([2, 3, 4], abs=0.01)


def test_a_block_without_a_vector_has_that_of_the_nearest() -> None:
    field = np.zeros((4, 6, 2), np.float32)
    field[:, :2], field[:, 4:] = (1, 2), (3, 4)
    known = np.ones((4, 6), bool)
    known[:, 2:4] = False
    filled = _filled(field.copy(), known)
    assert (filled[:, :3] == (1, 2)).all()
    assert (filled[:, 3:] == (3, 4)).all()


@pytest.mark.parametrize(("height", "width"), [(120, 200), (100, 190), (36, 66)])
def test_sizes_that_are_no_multiples_of_blocks(tmp_path: Path, height: int, width: int) -> None:
    path = film(tmp_path / "clip.avi", steady(6, height=height, width=width))
    field = next(iterate_motion(path))
    assert field.shape[:2] == field_size(height, width) == (round(height / 8), round(width / 8))
    assert pixels(field, height, width) == pytest.approx(RIGHT_DOWN, abs=1e-4)


@pytest.mark.parametrize(
    ("matrix", "motion"),  # the display matrix a, b, c, d, and where (4, -2) leads in the frames that are shown
    [((0, 1, -1, 0), (2, 4)), ((-1, 0, 0, -1), (-4, 2)), ((0, -1, 1, 0), (-2, -4)), ((1, 0, 0, 1), (4, -2))],
)
def test_rotated_files(tmp_path: Path, matrix: tuple[int, ...], motion: tuple[int, int]) -> None:
    content = bytearray(film(tmp_path / "upright.mp4", steady(6)).read_bytes())
    place = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    content[place : place + 36] = b"".join(x.to_bytes(4, "big", signed=True) for x in (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    path = tmp_path / "rotated.mp4"
    path.write_bytes(content)
    frames, fields = read_moving(path, [0], [3])
    assert fields[3].shape[:2] == field_size(*frames.shape[1:3])
    assert pixels(fields[3], *frames.shape[1:3]) == pytest.approx(motion, abs=1e-4)


# ---------------------------------------------------------------- exactly the same frames


@pytest.mark.parametrize("name", ["mpeg4.avi", "mpeg4-b.avi", "h264-b-pyramid.mp4", "h264-b-pyramid.avi"])
def test_frames_and_fields_do_not_depend_on_what_is_decoded(tmp_path: Path, name: str) -> None:
    encoder, b, options = ENCODERS[name]
    path = film(tmp_path / name, steady(40), encoder, b, **options)
    count = count_frames(path)
    every, whole = read_moving(path, range(count), range(1, count), decoder="pyav")
    assert np.array_equal(every, read_frames(path, range(count)))
    for index, field in enumerate(iterate_motion(path), start=1):
        assert np.array_equal(field, whole[index])
    rng = np.random.default_rng(0)
    for first in range(1, count - 4, 2):
        shown = sorted(rng.choice(count, 2, replace=False).tolist())
        frames, fields = read_moving(path, shown, range(first, first + 4), decoder="auto")
        assert np.array_equal(frames, every[shown])
        assert [*fields] == [*range(first, first + 4)]
        assert all(np.array_equal(field, whole[index]) for index, field in fields.items())
    for index in range(1, count):
        assert np.array_equal(read_moving(path, [], [index])[1][index], whole[index])


def test_only_groups_with_a_wanted_frame_are_decoded(mpeg4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def watched(*arguments, **named):
        for index, picture in pictures_in_groups(*arguments, **named):
            seen.append(index)
            yield index, picture

    monkeypatch.setattr("twostream.data.decoding.motion.pictures_in_groups", watched)
    read_moving(mpeg4, [14], [14, 15, 16])
    assert seen == [12, 13, 14, 15, 16]
    seen.clear()
    read_moving(mpeg4, [], [24])  # a key picture, whose field is made of those around it
    assert seen == [*range(12, 26)]


def test_a_count_that_the_packets_do_not_confirm_is_read_in_sequence(
    mpeg4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = read_moving(mpeg4, [14], range(14, 17), decoder="pyav")
    assert read_groups(mpeg4, [14], count=39) is None
    sequential: list[int] = []
    found = MotionReader.moving
    monkeypatch.setattr(MotionReader, "moving", lambda reader: sequential.append(1) or found(reader))
    for count, reads in ((40, 0), (39, 1)):
        frames, fields = read_moving(mpeg4, [14], range(14, 17), count=count)
        assert np.array_equal(frames, every[0])
        assert all(np.array_equal(field, every[1][index]) for index, field in fields.items())
        assert len(sequential) == reads


def test_an_index_outside_the_file(mpeg4: Path) -> None:
    with pytest.raises(IndexError, match="frame 40 does not exist; the file has 40 frames"):
        read_moving(mpeg4, [0], [39, 40])
    with pytest.raises(VideoError, match="has fewer frames than were counted"):
        Decoded().read_moving(Video("a", mpeg4, 0, "a"), [0], [40])


def test_no_picture_stays_in_memory(mpeg4: Path) -> None:
    """PyAV's `picture.side_data` refers to the picture, and it to that: only a collection of garbage frees them."""
    gc.collect()
    gc.disable()
    try:
        read_moving(mpeg4, [0], range(1, 30))
        assert not [one for one in gc.get_objects() if isinstance(one, av.VideoFrame)]
    finally:
        gc.enable()


# ---------------------------------------------------------------- files without vectors


@pytest.mark.parametrize(
    ("name", "encoder", "options", "why"),
    [
        ("a.avi", "mjpeg", {}, "codec mjpeg has none that can be read"),
        ("a.mkv", "libvpx-vp9", {"cpu-used": "8"}, "codec vp9 has none that can be read"),
        ("a.avi", "mpeg4", {"g": "1"}, "codec mpeg4, every frame is a key frame"),
        ("a.mp4", "libx264", {"g": "1"}, "codec h264, every frame is a key frame"),
        ("a.mpg", "mpeg2video", {"flags": "+ildct+ilme"}, "codec mpeg2video, interlaced"),
    ],
)
def test_files_without_vectors_are_named(tmp_path: Path, name: str, encoder: str, options: dict, why: str) -> None:
    path = film(tmp_path / name, steady(6), encoder, **options)
    with pytest.raises(NoVectorsError, match=f"{name}: flow=motion_vectors: {why}.*flow=dis"):
        read_moving(path, [0], [1, 2, 3])
    with pytest.raises(NoVectorsError, match=why):
        list(iterate_motion(path))
    with pytest.raises(NoVectorsError, match=why):
        list(timed_frames(path, motion=True))
    assert len(read_frames(path, [0, 5])) == 2


def test_a_file_of_one_frame_needs_no_vectors(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi", steady(1))
    require_vectors(path)
    assert list(iterate_motion(path)) == []


@pytest.mark.parametrize("decoder", ["decord", "torchcodec"])
def test_other_decoders_hand_out_none(mpeg4: Path, decoder: str) -> None:
    with pytest.raises(ValueError, match=f"decoder={decoder}: hands out no motion vectors.*decoder=auto"):
        read_moving(mpeg4, [0], [1], decoder=decoder)


def test_packed_frames_have_none(mpeg4: Path, tmp_path: Path) -> None:
    video = Video("mpeg4.avi", mpeg4, 0, "a")
    pack_clip(video, tmp_path)
    with pytest.raises(ValueError, match=r"packed frames .* have no motion vectors; choose data.frames=video"):
        dataset(video, Packed(tmp_path))[(0, 0)]


def test_pictures_alone_have_none(mpeg4: Path) -> None:
    frames = dict(enumerate(read_frames(mpeg4, [0, 1])))
    with pytest.raises(ValueError, match=r"flow=motion_vectors: is read from a video file.*another flow"):
        MotionVectors().fields(frames, [(0, 1)])
    with pytest.raises(ValueError, match=r"flow=motion_vectors: a camera has none; use a video file"):
        list(steps(timed_frames(mpeg4), MotionVectors()))


# ---------------------------------------------------------------- clips


def dataset(video: Video, frame_source=None, flow_store=None, **options) -> ClipDataset:
    return ClipDataset(
        [video],
        sampling=Segments(2),
        transform=CentreCrop(size=96, crop_fraction=0.75),
        flow=MotionVectors(length=3),
        frame_source=Decoded() if frame_source is None else frame_source,
        flow_store=flow_store,
        **options,
    )


def test_a_clip_has_the_motion_in_its_own_pixels(mpeg4: Path) -> None:
    clip = dataset(Video("a", mpeg4, 0, "a"))[(0, 0)]
    assert clip is not None
    assert clip.second.shape == (1, 2, 6, 96, 96)
    levels = np.median(clip.second.numpy(), axis=(0, 1, 3, 4))
    assert levels.tolist() == [round(4 * 127 / 20), round(-2 * 127 / 20)] * 3  # 96 pixels of 128 are 96 of the clip


@pytest.mark.parametrize("streams", [(rgb(), flow(3)), (flow(3),)], ids=["two", "flow"])
def test_cached_guarded_and_decoded_clips_are_equal(mpeg4: Path, kept: Kept, streams: tuple[Stream, ...]) -> None:
    video = Video("a", mpeg4, 0, "a")
    cached = dataset(video, Cached(Guarded(Decoded(), 30), kept), kept=kept, streams=streams, training=True)
    plain = dataset(video, streams=streams, training=True)
    for epoch in (0, 1, 2):
        for one, other in zip(cached[(epoch, 0)], plain[(epoch, 0)], strict=True):  # type: ignore[arg-type]
            assert np.array_equal(one, other)
    assert len(list(kept.folder.iterdir())) == 2  # the frames, and the fields, of the whole video


def test_a_video_that_is_too_short_stands_still_at_its_end(tmp_path: Path) -> None:
    for count in (1, 2):
        clip = dataset(Video("a", film(tmp_path / f"{count}.avi", steady(count)), 0, "a"))[(0, 0)]
        assert clip is not None
        still = [not plane.any() for plane in clip.second[0, 0].numpy()]
        assert still == [count == 1, count == 1, True, True, True, True]


def test_a_store_gives_the_same_clips_to_a_level(mpeg4: Path, tmp_path: Path) -> None:
    video, algorithm = Video("a.avi", mpeg4, 0, "a"), MotionVectors(length=3)
    make_store(tmp_path, algorithm, encoding="png")
    StoreClip(tmp_path, FromVideo(algorithm, "auto"))(video)
    stored = dataset(video, flow_store=FlowStore(tmp_path, algorithm))[(0, 0)]
    read = dataset(video)[(0, 0)]
    assert stored is not None
    assert read is not None
    assert np.abs(stored.second.numpy().astype(int) - read.second.numpy()).max() <= 1
    assert np.array_equal(stored.first, read.first)


def test_windows_show_what_clips_show(mpeg4: Path) -> None:
    """Prediction reads the whole video once; its last window is the clip of the last frames."""
    algorithm, transform = MotionVectors(length=3), CentreCrop(size=96, crop_fraction=0.75)
    windows = Windows(View(Segments(2), transform, algorithm, (rgb(), flow(3))), length=40, stride=40)
    found = [windows.add(step) for step in steps(timed_frames(mpeg4, motion=True), algorithm)][-1]
    clip = dataset(Video("a", mpeg4, 0, "a"))[(0, 0)]
    assert found is not None
    assert clip is not None
    assert np.array_equal(found.streams[1], clip.second[0])
    assert np.array_equal(found.streams[0], clip.first[0])


# ---------------------------------------------------------------- cropping cells


def test_a_slope_is_cropped_exactly_where_the_box_is() -> None:
    """Half a cell in, a third of the field: linear interpolation of a linear field is that field."""
    y, x = np.mgrid[:12, :15] + 0.5
    levels = np.stack([x, y / 2]).astype(np.float32)
    box, size = Box(2.5 / 12, 3.5 / 15, 6 / 12, 5 / 15), (48, 40)  # 8 pixels for a cell
    cropped = crop_cells(levels, box, size)
    down, right = (np.mgrid[:48, :40] + 0.5) / 8
    assert np.abs(cropped[0] - (right + 3.5) * 8).max() <= 0.5
    assert np.abs(cropped[1] - (down + 2.5) * 4).max() <= 0.5


def test_a_mirrored_crop_is_the_mirror_image() -> None:
    levels = np.random.default_rng(0).normal(0, 3, (2, 30, 40)).astype(np.float32)
    box = Box(0.1, 0.23, 0.6, 0.44)
    plain, flipped = crop_cells(levels, box, 56), crop_cells(levels, box._replace(flip=True), 56)
    assert np.array_equal(flipped[0], -plain[0][:, ::-1])
    assert np.array_equal(flipped[1], plain[1][:, ::-1])


# ---------------------------------------------------------------- real clips


def test_real_clips_against_dis(real_data: Path) -> None:
    """Where DIS finds motion, the vectors find it, too: the second frame moved back is nearer to the first."""
    from benchmarks.flow import enlarge, photometric_error

    errors = []
    for path in sorted((real_data / "UCF-101").glob("*/*.avi"))[::20]:
        frames, fields = read_moving(path, range(20, 30), range(21, 30))
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        for index, field in fields.items():
            pair = grey[index - 21], grey[index - 20]
            large = enlarge(field, *grey[0].shape)
            errors.append((photometric_error(*pair, large), photometric_error(*pair, 0 * large)))
    with_motion, still = np.mean(errors, axis=0)
    assert with_motion < 0.8 * still
