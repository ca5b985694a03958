"""Reads what a video file says about itself, by PyAV, which opens a file in a millisecond and gives clear errors."""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from twostream.data.decoding.progress import progressing
from twostream.data.picture import MOST_PIXELS
from twostream.files.video_files import VideoError, why_absent

# Containers that store the time of each frame, and codecs in which every packet is one shown frame. MPEG-4 Part 2 is
# not one of these codecs: its "not coded" packets carry no picture, so that all later frames have a lower index than
# their packet (UCF101's v_Kayaking_g12_c03 has such a packet).
TIMED_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
ONE_PICTURE_CODECS = ("h264", "hevc", "vp9", "av1", "mjpeg")

# FFmpeg's formats that contain pictures themselves. Playlists are left out, since FFmpeg would open the files and
# addresses that they name; it recognises them by their content, whatever the file is called.
FORMATS = (
    "avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,flv,asf,mpeg,mpegts,mpegvideo,ogg,gif,mjpeg,h264,hevc,m4v,nut,mxf,dv,"
    "rm,ivf,yuv4mpegpipe,swf,wtv,vob,mpegps,wav,w64,mp3,flac,aac,ac3,aiff,caf,au"
)
OPENING = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}

NOT_A_VIDEO = {
    b"version https://git-lfs": "is a Git LFS pointer, not the video itself: run `git lfs pull`",
    b"<!doctype html": "is a web page, not a video: download it again",
    b"<html": "is a web page, not a video: download it again",
}


@dataclass(frozen=True)
class VideoFacts:
    """Facts of a video file, from its packets and one decoded frame.

    `header_frames` is the number of frames that the container claims, 0 if it claims none; only `count_frames` gives
    the true number. `width` and `height` are those of upright frames. `random_access_safe`: see `seek_table`.
    """

    container: str
    codec: str
    width: int
    height: int
    rotation: int  # degrees counter-clockwise that turn the stored frames upright
    fps: float
    header_frames: int
    has_b_frames: bool
    random_access_safe: bool


@dataclass(frozen=True)
class SeekTable:
    """The index of each frame by its timestamp (in units of `time_base` seconds), and the keyframes to start from."""

    indices: dict[int, int]
    key_indices: list[int]
    key_timestamps: list[int]
    time_base: Fraction

    def index_of(self, timestamp: int | None) -> int | None:
        return None if timestamp is None else self.indices.get(timestamp)

    def keyframe_before(self, index: int) -> tuple[int, int]:
        """Returns index and timestamp of the last keyframe at or before `index`."""
        place = max(0, bisect_right(self.key_indices, index) - 1)
        return self.key_indices[place], self.key_timestamps[place]


def probe(path: str | PathLike[str]) -> VideoFacts:
    """Returns the facts of a file, from its headers, its packets (not decoded) and its first frame.

    Raises `VideoError` if the file has no video, or its first frame cannot be decoded.
    """
    with open_video(path) as container:
        stream = video_stream(container, path)
        try:
            first = next(container.decode(stream), None)
        except av.FFmpegError as error:
            raise VideoError(path, f"the first frame cannot be decoded ({error.strerror})") from error
        if first is None:
            raise VideoError(path, "holds no frame that can be decoded")
        quarters = quarter_turns(first.rotation)
        height, width = (first.height, first.width) if quarters % 2 == 0 else (first.width, first.height)
        return VideoFacts(
            container=container.format.name,
            codec=stream.codec_context.codec.canonical_name,
            width=width,
            height=height,
            rotation=90 * quarters,
            fps=float(stream.average_rate or 0),
            header_frames=stream.frames,
            has_b_frames=bool(stream.codec_context.has_b_frames),
            random_access_safe=seek_table(path) is not None,
        )


def open_video(path: str | PathLike[str]) -> InputContainer:
    """Opens a file; the caller closes it. Raises `VideoError` if PyAV cannot open it."""
    file = os.path.abspath(path)  # FFmpeg would take a bare name such as `data:1.avi` for a protocol
    try:
        # "ignore": some HMDB51 files have tags that are not UTF-8
        return av.open(file, options=OPENING, metadata_errors="ignore")
    except av.FFmpegError as error:
        reason = why_absent(path) or _why_not_open(file)
        raise VideoError(path, reason or f"cannot be opened ({error.strerror})") from error


def video_stream(container: InputContainer, path: str | PathLike[str]) -> VideoStream:
    """Returns the video stream that all decoders choose, set to one thread. Raises `VideoError` if none is usable."""
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise VideoError(path, "holds no video stream")
    if stream.disposition & Disposition.attached_pic:
        raise VideoError(path, "holds no video stream, only a cover picture")
    if stream.codec_context is None:
        raise VideoError(path, "no decoder for its codec in this build of PyAV")
    size = stream.codec_context.width, stream.codec_context.height
    if size[0] * size[1] > MOST_PIXELS:
        raise VideoError(path, f"claims frames of {size[0]} x {size[1]} pixels; at most {MOST_PIXELS:,} are read")
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}  # the frames may be larger than the header says
    return stream


def quarter_turns(rotation: float) -> int:
    """Returns how often (0 to 3) a display rotation in degrees turns a frame by 90° counter-clockwise.

    >>> quarter_turns(-90), quarter_turns(180), quarter_turns(0)
    (3, 2, 0)
    """
    return round(rotation / 90) % 4


def seek_table(path: str | PathLike[str], last: int | None = None) -> SeekTable | None:
    """Returns where each frame is, or None if decoding from the keyframe before a frame may give another frame.

    Decoding from a keyframe is exact if all of this holds: container and codec store one timed frame per packet; every
    packet has its own timestamp, and an edit list cuts none off; the first packet is a keyframe; and at each keyframe
    all packets before it are shown earlier and all after it later (no frame needs another from across a keyframe). The
    i-th timestamp is then that of frame i. MPEG-4 in AVI never qualifies. With `last`, reads only the packets that
    frame `last` needs. Raises `VideoError` like `open_video`.
    """
    with open_video(path) as container:
        stream = video_stream(container, path)
        if container.format.name not in TIMED_CONTAINERS:
            return None
        if stream.codec_context.codec.canonical_name not in ONE_PICTURE_CODECS:
            return None
        timestamps: list[int] = []
        key_indices: list[int] = []
        key_timestamps: list[int] = []
        latest: int | None = None
        try:
            for packet in progressing(container.demux(stream)):
                if packet.size == 0:  # PyAV marks the end by an empty packet
                    continue
                if packet.pts is None or packet.is_discard or packet.is_corrupt:
                    return None
                if packet.is_keyframe:
                    if latest is not None and packet.pts <= latest:
                        return None
                    if last is not None and key_indices and key_indices[-1] > last:
                        break
                    key_indices.append(len(timestamps))
                    key_timestamps.append(packet.pts)
                elif not key_timestamps or packet.pts <= key_timestamps[-1]:
                    return None
                timestamps.append(packet.pts)
                latest = packet.pts if latest is None else max(latest, packet.pts)
        except av.FFmpegError:  # damage: decoding will report it
            return None
        indices = {timestamp: index for index, timestamp in enumerate(sorted(timestamps))}
        if not timestamps or len(indices) < len(timestamps) or stream.time_base is None:
            return None
        return SeekTable(indices, key_indices, key_timestamps, stream.time_base)


def _why_not_open(file: str) -> str | None:
    """Returns a clearer reason than the decoder's if the file is a pointer, a web page or empty, or else None."""
    try:
        with open(file, "rb") as content:
            head = content.read(64).lstrip().lower()
    except OSError:
        return None
    if not head:
        return "is empty"
    return next((reason for start, reason in NOT_A_VIDEO.items() if head.startswith(start)), None)
