"""Reads with decord, always from the first frame on: its random access gives wrong frames on many AVI files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from twostream.data.decoding.facts import VideoError, open_video, video_stream
from twostream.data.decoding.reader import Reader
from twostream.files.errors import first_line

# When decord opens a file, it reads all packets and then seeks back to the first. These containers have an index to
# seek by. In others it lands too late (in an MPEG transport stream on the second keyframe), and every index is wrong.
REWINDABLE = ("avi", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv", "asf")

# Codecs of which decord was found to return every frame. Of others it may drop some: in QuickTime Animation it drops
# the frames in which nothing changes.
MPEG_CODECS = ("h264", "hevc", "mpeg4", "mpeg1video", "mpeg2video", "flv1", "wmv1", "wmv2", "msmpeg4v2", "msmpeg4v3")
CODECS = (*MPEG_CODECS, "vp9", "mjpeg", "ffv1", "ffvhuff", "huffyuv", "utvideo", "rawvideo")

# After the last picture decord returns copies of it. If their share is above this limit, it raises
# DECORDLimitReachedError instead: with this value at the first copy. (0 would mean no limit.)
NO_COPIES = "0.0000001"


class DecordReader(Reader):
    """A video opened by decord, with one decoding thread.

    This thread runs ahead of the reader. So damage may be reported some frames early, and all packets (never all
    frames) of a long file can be in memory at once. PyAV is the better choice for large files.
    """

    can_jump = False  # decord does not tell which frame a seek has reached

    @staticmethod
    def load() -> ModuleType:
        return _load()

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._decord = _load()
        with open_video(path) as container:  # PyAV gives clear reasons, and prints nothing
            codec = video_stream(container, path).codec_context.codec.canonical_name
            name = container.format.name
        if name not in REWINDABLE:
            raise VideoError(path, f"decord cannot return to the start of {name} files: use decoder=pyav")
        if codec not in CODECS:
            raise VideoError(path, f"decord is not exact for codec {codec}: use decoder=pyav")
        try:
            self._video = self._decord.VideoReader(
                os.path.abspath(path), ctx=self._decord.cpu(0), num_threads=1, fault_tol=NO_COPIES
            )
        except (self._decord.DECORDError, RuntimeError, AssertionError) as error:
            reason = f"decord cannot open it, codec {codec} ({own_words(error)}): try decoder=pyav"
            raise VideoError(path, reason) from None
        except UnicodeEncodeError:
            raise VideoError(path, "decord cannot open files whose names are not UTF-8: try decoder=pyav") from None

    def close(self) -> None:
        del self._video  # decord's way to close a file

    def pictures(self) -> Iterator[Any]:
        for index in range(len(self._video)):
            try:
                picture = self._video.next()
            except self._decord.DECORDLimitReachedError:
                return  # the file has fewer pictures than packets
            except StopIteration:
                raise VideoError(self._path, "decord cannot return to its start: try decoder=pyav") from None
            except self._decord.DECORDError as error:
                reason = f"is damaged after {index} frames or more (decord: {own_words(error)})"
                raise VideoError(self._path, reason) from None
            yield picture

    def rgb(self, picture: Any) -> UInt8[np.ndarray, "h w 3"]:
        return picture.asnumpy()  # upright: decord applies the rotation itself


@cache
def _load() -> ModuleType:
    """Imports decord and silences FFmpeg (a damaged file gives dozens of lines). Raises ImportError without decord."""
    # decord gives up a file after this many looks into an empty queue. Its default is too low: on a busy processor it
    # gives up healthy files. This number takes a second or two. The variable is read when the library is loaded.
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", "10000000")
    try:
        import decord
    except (ImportError, OSError) as error:
        raise ImportError(f"decoder='decord': cannot be imported ({error}); `pip install decord`") from error
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def own_words(error: Exception) -> str:
    """Returns the message of decord's error without the source lines and checks around it.

    >>> own_words(Exception("[01:02:03] /src/a.cc:29: Check failed: f(x) >= 0 (-2 vs. 0) Error sending packet."))
    'Error sending packet.'
    """
    text = re.split(r"\.cc:\d+: ", first_line(error))[-1]
    return re.sub(r"^(Check failed: .*? vs\. \S+\) |\[.*?\] ?)", "", text)
