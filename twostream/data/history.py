"""Records which videos weights were trained on, so that the weights are never tested on one of these videos."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from twostream.data.sources.source import Video, fingerprint, first_ten
from twostream.files.json_yaml import has_shape
from twostream.runs.checkpoint import read_plain


class LeakError(ValueError):
    """Weights would be tested on videos that they were trained on."""


@dataclass(frozen=True)
class History:
    """The videos that weights were trained on: a line of text per list, and a 64-bit hash of each video's name.

    The name is the path below the folder of class folders, without its suffix. So a copy in another place or another
    encoding counts as the same video. `|` joins the histories of several weights.
    """

    lists: tuple[str, ...] = ()
    videos: frozenset[int] = frozenset()

    @classmethod
    def of(cls, name: str, split: int, videos: Sequence[Video]) -> History:
        """Returns the history of weights trained on `videos`, a list of split `split` of the data set `name`."""
        words = f"{name} split {split}, {len(videos)} videos, fingerprint {fingerprint(videos)[:16]}"
        return cls((words,), frozenset(_key(video.id) for video in videos))

    @classmethod
    def renamed(cls, ids: Sequence[str]) -> History:
        """Returns the history of `ids`: other names of videos that were trained on."""
        return cls((f"{len(ids)} of them by another name",), frozenset(map(_key, ids)))

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> History:
        """Returns the history stored in a checkpoint, or an empty one if the checkpoint is of another program.

        Raises ValueError if the file is not a checkpoint, or its history is damaged.
        """
        content = read_plain(Path(path))
        try:
            return cls.from_content(content)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @classmethod
    def from_content(cls, content: Any) -> History:
        """Returns the history in the content of a checkpoint, or an empty one. Raises ValueError if it is damaged."""
        stored = content.get("trained_on") if isinstance(content, dict) else None
        if stored is None:
            return cls()
        lists, videos = [stored.get(name) for name in ("lists", "videos")] if isinstance(stored, dict) else (None, None)
        whole = isinstance(videos, torch.Tensor) and (videos.dtype, videos.ndim) == (torch.int64, 1)
        if not whole or not has_shape(lists, [str]):
            raise ValueError("what it was trained on is damaged")
        return cls(tuple(lists or ()), frozenset(videos.tolist()))  # type: ignore[union-attr]

    def __or__(self, other: History) -> History:
        return History(tuple(dict.fromkeys(self.lists + other.lists)), self.videos | other.videos)

    def to_checkpoint(self) -> dict[str, Any]:
        """Returns the history as a checkpoint stores it: plain values and one tensor."""
        return {"lists": list(self.lists), "videos": torch.tensor(sorted(self.videos), dtype=torch.int64)}

    def among(self, videos: Iterable[Video]) -> list[str]:
        """Returns the ids of those `videos` that the weights were trained on."""
        return [video.id for video in videos if _key(video.id) in self.videos]

    def check(
        self, videos: Sequence[Video], *, part: str = "test", trained: Sequence[Video] = (), allow: bool = False
    ) -> int:
        """Returns how many of `videos` the weights were trained on. Raises LeakError if there is one, unless `allow`.

        `part` is what `videos` are for. `trained` are the videos that this run trains on: the error names the one that
        differs only in its suffix beside each leaked video.
        """
        known = self.among(videos)
        if known and not allow:
            twins = {_name(video.id): video.id for video in trained}
            names = [video.id + _known_as(video, twins) for video in videos if _key(video.id) in self.videos]
            raise LeakError(
                f"{len(known)} of {len(videos)} {part} videos are among those that the weights were trained on "
                f"({'; '.join(self.lists)}): {first_ten(names)}; test another split, or set allow_leak=true"
            )
        return len(known)


def _name(video_id: str) -> str:
    return str(PurePosixPath(video_id).with_suffix(""))


def _known_as(video: Video, twins: Mapping[str, str]) -> str:
    twin = twins.get(_name(video.id))
    return f" (trained on as {twin})" if twin else ""


def _key(video_id: str) -> int:
    digest = hashlib.sha256(_name(video_id).encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
