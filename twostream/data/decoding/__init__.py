"""File and frame indices -> exactly those frames; the only importer of a video decoder."""

from twostream.data.decoding.facts import VideoError, VideoFacts, probe
from twostream.data.decoding.frames import DECODERS, check_decoder, count_frames, iterate_frames, read_frames

__all__ = [
    "DECODERS",
    "VideoError",
    "VideoFacts",
    "check_decoder",
    "count_frames",
    "iterate_frames",
    "probe",
    "read_frames",
]
