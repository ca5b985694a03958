"""Streams: which frames they show, how these are cut, and what is wrong with a column."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from twostream.config.compose import compose_config, streams_of
from twostream.config.data import build_source
from twostream.config.sampling import span_in
from twostream.config.streams import check_columns, check_streams, side_of, streams_in
from twostream.data.dataset import ClipDataset
from twostream.data.decoding import VideoError
from twostream.data.flow import DIS
from twostream.data.made import cut_picture, differences, in_boxes, mirrored_picture, positions
from twostream.data.sampling import Chunks, Clip
from twostream.data.sources import Video
from twostream.data.transform import Box, CentreCrop, JitterCrop
from twostream.launch.refit import held_out_record
from twostream.options.streams import Stream, column, diff, flow, rgb

WHOLE = CentreCrop(size=8, crop_fraction=1.0)


class Numbered:
    """Frames whose grey level is 3 times their number, plus 10 in the file `depth`; `sizes` by file."""

    def __init__(self, counts: dict[str, int] | None = None, sizes: dict[str, tuple[int, int]] | None = None) -> None:
        self.counts, self.sizes, self.read_of = counts or {}, sizes or {}, []

    def count(self, video: Video) -> int:
        return self.counts.get(video.path.stem, 20)

    def read(self, video: Video, indices, count=None) -> np.ndarray:
        self.read_of.append((video.path.stem, list(indices)))
        height, width = self.sizes.get(video.path.stem, (8, 8))
        base = 10 * (video.path.stem == "depth")
        frames = [np.full((height, width, 3), base + 3 * i, np.uint8) + np.uint8([0, 1, 2]) for i in indices]
        return np.stack(frames)


VIDEO = Video("a", Path("a.mp4"), 0, "a", {"depth": Path("depth.mp4")})


def clips(*streams: Stream, source: Numbered | None = None, **options) -> ClipDataset:
    settings = {"sampling": Chunks(2, stride=(4, 4)), "transform": WHOLE, "flow": DIS(length=3, preset="ultrafast")}
    frame_source = source or Numbered()
    return ClipDataset([VIDEO], frame_source=frame_source, streams=streams, **{**settings, **options})


def test_differences_are_those_of_successive_frames_around_the_picture() -> None:
    clip = clips(rgb(), diff(2))[0, 0]
    assert clip.second.dtype == torch.int16
    assert clip.second.shape == (1, 2, 6, 8, 8)
    assert (clip.second == 3).all(), "each frame is 3 levels brighter than the one before"
    starts = np.array([[0, 4]])
    assert positions(diff(1), starts, 3, 20).tolist() == [[[1, 2], [5, 6]]], "in the middle of a longer span"
    assert positions(rgb(), starts, 3, 20).tolist() == [[1, 5]]


def test_differences_reach_both_ends_of_their_range_and_repeat_the_last_frame() -> None:
    frames = np.uint8([[0, 255, 0]]).reshape(1, 3, 1, 1, 1).repeat(3, axis=2)
    assert differences(frames).ravel().tolist() == [255] * 3 + [-255] * 3
    still = clips(diff(5), source=Numbered({"a": 2}))[0, 0].first
    assert still[0, 0, :, 0, 0].tolist() == [3] * 3 + [0] * 12, "two frames, then the last one again"


def test_a_column_shows_its_own_file_at_the_same_moments() -> None:
    source = Numbered()
    clip = clips(rgb(), column("depth"), source=source)[0, 0]
    assert (clip.second.int() - clip.first.int() == 10).all()
    assert [name for name, _ in source.read_of] == ["a", "depth"]
    assert source.read_of[0][1] == source.read_of[1][1]
    grey = clips(rgb(), column("depth", colour="grey"))[0, 0].second
    assert grey.shape == (1, 2, 1, 8, 8)
    assert ((grey.int() - clip.second.int()[:, :, 1:2]).abs() <= 1).all(), "of three levels that differ by one"
    source = Numbered()
    alone = clips(column("depth"), source=source)[0, 0]
    assert torch.equal(alone.first, clip.second)
    assert {name for name, _ in source.read_of} == {"depth"}, "the video itself is not read"


@pytest.mark.parametrize("stream", [column("depth"), column("depth", mirror="invert"), column("depth", colour="grey")])
def test_what_a_mirror_does_to_a_column(stream: Stream) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    box = Box(0, 0, 1, 1)
    cut = partial(cut_picture, sides=(8, 12), stream=stream)
    plain, flipped = in_boxes(frame, [box, box._replace(flip=True)], cut, partial(mirrored_picture, stream=stream))
    assert np.array_equal(flipped, cut(frame, box._replace(flip=True))), "mirroring a crop is cropping mirrored"
    expected = plain[..., ::-1].copy()
    if stream.inverts:
        expected[0] = 255 - expected[0]
    assert np.array_equal(flipped, expected)


def test_both_files_are_cropped_by_one_box_whatever_their_sizes() -> None:
    class Ramp(Numbered):
        def read(self, video: Video, indices, count=None) -> np.ndarray:
            height, width = (40, 60) if video.path.stem == "a" else (80, 120)
            ramp = np.linspace(0, 255, width).astype(np.uint8)
            return np.broadcast_to(ramp[None, None, :, None], (len(indices), height, width, 3))

    dataset = clips(rgb(), column("depth"), source=Ramp(), training=True, transform=JitterCrop(size=16, flip=0.5))
    for epoch in range(4):
        clip = dataset[epoch, 0]
        assert (clip.first.int() - clip.second.int()).abs().max() <= 8, "one step of the coarser ramp"


def test_files_of_unequal_length_or_shape_are_named() -> None:
    with pytest.raises(VideoError, match=r"depth\.mp4: has 19 frames, and a\.mp4 has 20"):
        clips(rgb(), column("depth"), source=Numbered({"depth": 19}))[0, 0]
    skipping = clips(rgb(), column("depth"), source=Numbered({"depth": 19}), broken="skip")
    assert skipping[0, 0] is None
    with pytest.raises(VideoError, match=r"depth\.mp4: has frames of 16×8, and a\.mp4 of 8×8"):
        clips(rgb(), column("depth"), source=Numbered(sizes={"depth": (8, 16)}))[0, 0]


def test_colour_jitter_is_of_rgb_alone() -> None:
    assert [one.jitters for one in (rgb(), flow(2), diff(2), column("x"))] == [True, False, False, False]


@pytest.mark.parametrize(
    ("typed", "streams", "sides"),
    [
        ("rgb", ("rgb",), ["rgb"]),
        ("flow", ("flow",), ["flow"]),
        ("[flow,rgb]", ("rgb", "flow"), ["rgb", "flow"]),
        ("[depth,rgb]", ("rgb", "depth"), ["rgb", "flow"]),
        ("[flow,depth]", ("depth", "flow"), ["rgb", "flow"]),
        ("[pose,depth]", ("pose", "depth"), ["rgb", "flow"]),
        ("diff", ("diff",), ["rgb"]),
    ],
)
def test_the_order_of_streams_and_whose_options_are_whose(typed, streams, sides) -> None:
    cfg = compose_config([f"streams={typed}"])
    assert streams_of(cfg) == streams
    assert [side_of(cfg, name) for name in streams] == sides


def test_the_span_is_that_of_the_longest_stack() -> None:
    for typed, span, in_a_row in (("rgb", 7, 0), ("[rgb,diff]", 3, 3), ("[flow,diff]", 7, 7), ("diff", 3, 3)):
        cfg = compose_config([f"streams={typed}", "flow.length=7", "diff.length=3"])
        assert span_in(cfg, Chunks()) == span
        assert span_in(cfg, Clip()) == in_a_row


def test_pictures_in_a_row_keep_no_frame_free_for_flow() -> None:
    """20 frames, of which a clip of 16 starts at one of 0 … 4: the last view ends with the last frame."""
    dataset = clips(rgb(), sampling=Clip(16, test_views=5), flow=DIS(length=10, preset="ultrafast"))
    assert dataset[0, 0].first[:, :, 0, 0, 0].tolist() == [[3 * (start + k) for k in range(16)] for start in range(5)]
    beside = clips(rgb(), flow(1), sampling=Clip(16, test_views=5))
    assert beside.span == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["streams=dpeth"], "streams=dpeth: choose from rgb, flow, diff, or a column of data.csv"),
        (["streams=[rgb,flow,diff]"], "at most; train others apart, and fuse their scores by `twostream fuse`"),
        (["streams=[rgb,fusions]"], "'fusions' is no name of a stream; choose from rgb, flow, diff"),
        (["streams=[rgb,a b]"], "is no name of a stream"),
    ],
)
def test_a_wrong_stream_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        check_streams(compose_config(words))


def folder(root: Path, columns: dict[str, str]) -> list[str]:
    """Six videos (empty files: none is opened) with further columns; {i} is a video's number."""
    with (root / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video", *columns, "label", "split"])
        for i in range(6):
            (root / f"{i}.mp4").touch()
            cells = [cell.format(i=i) for cell in columns.values()]
            writer.writerow([f"{i}.mp4", *cells, f"class{i % 2}", "test" if i > 3 else "train"])
    return ["data=folder", f"data.root={root}", f"data.csv={root / 'data.csv'}", "weights=null"]


@pytest.mark.parametrize(
    ("columns", "streams", "message"),
    [
        ({"depth": "{i}.mp4"}, "[rgb,depth]", ""),
        ({"depth": "{i}.mp4", "note": "seen by Ada"}, "[depth,flow]", ""),
        (
            {"depth": "{i}.mp4"},
            "[rgb,dpeth]",
            "streams=dpeth: no column of .*columns are depth; computed are rgb",
        ),
        ({}, "[rgb,depth]", "it has no column of further files"),
        (
            {"depth": "d/{i}.mp4"},
            "[rgb,depth]",
            "column depth names no file below data.root for 6 videos: 0.mp4",
        ),
        ({"depth": "../{i}.mp4"}, "[rgb,depth]", "streams=depth: no column of"),
        ({"depth": "/etc/passwd"}, "[rgb,depth]", "streams=depth: no column of"),
    ],
)
def test_columns_of_a_csv(tmp_path: Path, columns: dict[str, str], streams: str, message: str) -> None:
    cfg = compose_config([*folder(tmp_path, columns), f"streams={streams}"])
    check_streams(cfg)
    source = build_source(cfg)
    if message:
        with pytest.raises(ValueError, match=message):
            check_columns(cfg, source)
        with pytest.raises(ValueError, match=message):  # what chooses the epochs begins with it
            held_out_record(cfg, source)
        return
    check_columns(cfg, source)
    assert source.train[0].in_column("depth") == replace(source.train[0], path=tmp_path / "0.mp4")


def test_options_of_a_column_are_checked(tmp_path: Path) -> None:
    words = folder(tmp_path, {"depth": "{i}.mp4"})
    cfg = compose_config([*words, "streams=[rgb,depth]", "column.colour=grey", "column.std=40", "column.mirror=invert"])
    assert streams_in(cfg)[1] == Stream("depth", "frames", channels=1, column="depth", std=40, inverts=True, sums=True)
    with pytest.raises(ValueError, match=r"column.colour=red: choose from rgb, grey"):
        compose_config([*words, "column.colour=red"])
    with pytest.raises(ValueError, match=r"column.mirror='no': choose from plain, invert"):
        column("depth", mirror="no")
