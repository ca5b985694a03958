"""Decodes video files: returns exactly the frames of given indices. All decoding of video files happens here."""

from twostream.data.decoding.agreement import check_close
from twostream.data.decoding.facts import VideoError, VideoFacts, open_video, probe
from twostream.data.decoding.frames import (
    DECODERS,
    check_decoder,
    compare_frames,
    count_frames,
    iterate_frames,
    read_frames,
    same_frames,
)
from twostream.data.decoding.motion import (
    NoVectorsError,
    check_hands_out,
    iterate_motion,
    read_moving,
    require_vectors,
)
from twostream.data.decoding.progress import progressing, telling
from twostream.data.decoding.timed import (
    FRAME_RATE,
    TimedFrame,
    camera_frames,
    claimed_seconds,
    frame_rate,
    timed_frames,
)

__all__ = [
    "DECODERS",
    "FRAME_RATE",
    "NoVectorsError",
    "TimedFrame",
    "VideoError",
    "VideoFacts",
    "camera_frames",
    "check_close",
    "check_decoder",
    "check_hands_out",
    "claimed_seconds",
    "compare_frames",
    "count_frames",
    "frame_rate",
    "iterate_frames",
    "iterate_motion",
    "open_video",
    "probe",
    "progressing",
    "read_frames",
    "read_moving",
    "require_vectors",
    "same_frames",
    "telling",
    "timed_frames",
]
