"""Protocols: how many views, and where; all lists worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from twostream.config.compose import compose_config
from twostream.config.network import build_network
from twostream.config.protocol_views import num_views, sampling_of, scores_frame_by_frame
from twostream.config.protocols import CROPS, PROTOCOLS
from twostream.data.sampling import Chunks, Clip, Segments, rgb_indices
from twostream.data.transform import CentreCrop


def starts(protocol: str, own, num_frames: int, *, frame_by_frame: bool = False) -> list[list[int]]:
    return sampling_of(protocol, own, frame_by_frame=frame_by_frame).fixed(num_frames, 10).tolist()


def test_paper_takes_ten_clips_from_the_first_to_the_last_possible_one() -> None:
    """T = 5, stride 5 (the middle of 1 … 10): a clip spans 4 · 5 + 10 + 1 = 31 of 58 frames, so starts are 0 … 27."""
    found = starts("paper", Chunks(5, stride=(1, 10)), 58)
    assert [clip[0] for clip in found] == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]
    assert found[1] == [3, 8, 13, 18, 23]
    assert found == starts("paper", Segments(5), 58), "Segments have no stride: that of the paper"


def test_paper_keeps_the_stride_of_the_configuration() -> None:
    """Stride 2: 4 · 2 + 11 = 19 of 58 frames, starts 0 … 39, every 39/9 = 4.33."""
    found = starts("paper", Chunks(5, stride=(1, 10), test_stride=2), 58)
    assert [clip[0] for clip in found] == [0, 4, 9, 13, 17, 22, 26, 30, 35, 39]
    assert found[-1] == [39, 41, 43, 45, 47]


def test_two_stream_takes_25_equally_spaced_frames() -> None:
    """59 frames, stacks of 10 fields: starts 0 … 48, every second one; the frame is in the middle of its stack."""
    found = starts("two_stream", Chunks(5), 59, frame_by_frame=True)
    assert found == [[2 * k] for k in range(25)]
    assert rgb_indices(np.array(found), 10, 59).ravel().tolist() == list(range(5, 54, 2))


def test_two_stream_takes_25_clips_where_the_network_needs_them() -> None:
    """T = 3, stride 4: 2 · 4 + 11 = 19 of 67 frames, starts 0 … 48."""
    found = starts("two_stream", Chunks(3, stride=(4, 4)), 67)
    assert found == [[2 * k, 2 * k + 4, 2 * k + 8] for k in range(25)]


def test_tsn_takes_the_middles_of_25_segments() -> None:
    """60 frames: 50 starts, tick 2: int(1 + 2k). 85 frames: 75 starts, tick 3: int(1.5 + 3k)."""
    assert starts("tsn", Segments(3), 60, frame_by_frame=True) == [[1 + 2 * k] for k in range(25)]
    assert starts("tsn", Chunks(5), 85, frame_by_frame=True) == [[1 + 3 * k] for k in range(25)]


def test_tsn_divides_its_segments_among_clips() -> None:
    """T = 5: clip v takes segments v, v + 5, …, all 25 once."""
    found = starts("tsn", Segments(5), 60)
    assert found[0] == [1, 11, 21, 31, 41]
    assert found[4] == [9, 19, 29, 39, 49]
    assert sorted(start for clip in found for start in clip) == [1 + 2 * k for k in range(25)]
    with pytest.raises(ValueError, match=r"protocol='tsn': 25 segments .* T=3.*choose two_stream or paper"):
        starts("tsn", Segments(3), 60)


def test_tsn_has_no_frames_in_a_row() -> None:
    with pytest.raises(ValueError, match=r"protocol='tsn': .* trained on 5 frames in a row .*two_stream or paper"):
        starts("tsn", Clip(5), 60)
    assert starts("tsn", Clip(5), 60, frame_by_frame=True) == [[1 + 2 * k] for k in range(25)]


def test_quick_is_one_clip_in_the_middle_and_train_is_as_configured() -> None:
    own = Chunks(5, stride=(1, 10), test_views=4)
    assert starts("quick", own, 58) == [[13, 18, 23, 28, 33]]  # room 27, so from frame 13
    assert len(starts("train", own, 58)) == 4
    assert own.test_views == 4


@pytest.mark.parametrize(("protocol", "views"), {"paper": 20, "two_stream": 250, "tsn": 250, "quick": 1}.items())
def test_views_and_their_crops(protocol: str, views: int) -> None:
    """A 240 × 320 frame, crops of 210 = .875 · 240 from rows 0, 15, 30 and columns 0, 55, 110; or the whole frame."""
    transform = CentreCrop(size=224, crop_fraction=0.875, **CROPS[protocol])
    sampling = sampling_of(protocol, Chunks(5, test_views=3), frame_by_frame=True)
    assert num_views(sampling, transform) == views
    corners = [(0, 0), (0, 110), (30, 0), (30, 110), (15, 55)]
    expected = {
        "paper": [(0, 0, 240, 320, False), (0, 0, 240, 320, True)],
        "quick": [(15, 55, 210, 210, False)],
    }.get(protocol, [(*corner, 210, 210, flip) for flip in (False, True) for corner in corners])
    found = [(*box.pixels(240, 320), box.flip) for box in transform.fixed(240, 320)]
    assert [(r.start, c.start, r.stop - r.start, c.stop - c.start, flip) for r, c, flip in found] == expected
    assert transform.fixed_size(240, 320) == ((256, 341) if protocol == "paper" else (224, 224))


def test_an_unknown_protocol() -> None:
    with pytest.raises(ValueError, match=f"protocol='ten': choose from {', '.join(PROTOCOLS)}"):
        sampling_of("ten", Chunks(), frame_by_frame=True)


NETWORKS = {
    "temporal=pool2d": True,
    "temporal=pool3d": False,
    "temporal=conv3d": False,
    "temporal=pool2d pooling=actionvlad": False,
    "temporal=pool2d attention=nonlocal": True,
    "temporal=pool2d attention=nonlocal attention_over=clip": False,
    "temporal=pool2d attention=none attention_over=clip": True,
    "temporal=pool2d fusion=multilevel layer=[conv3,conv5]": True,
    "temporal=pool2d streams=flow": True,
}


@pytest.mark.parametrize(("options", "alone"), NETWORKS.items())
def test_networks_that_score_frames_alone_are_known_as_such(options: str, alone: bool) -> None:
    """They say of two frames the mean of what they say of each; others do not."""
    network = build_network(compose_config(options.split()), 4).eval().double()  # exact: any difference counts
    assert scores_frame_by_frame(network) == alone
    torch.manual_seed(0)
    for parameter in network.parameters():
        if not parameter.any():  # attention starts as the identity
            torch.nn.init.normal_(parameter, std=0.1)
    channels = [{"rgb": 3, "flow": 10}[stream] for stream in network.streams]
    streams = [torch.rand(1, 2, each, 64, 64, dtype=torch.float64) * 255 for each in channels]
    with torch.no_grad():
        together = network(*streams)
        each = torch.stack([network(*(frames[:, t : t + 1] for frames in streams)) for t in (0, 1)]).mean(0)
    assert torch.allclose(together, each, rtol=1e-9, atol=1e-12) == alone
