"""The scores of a network for each video of a test, and their file, which metrics and score fusion read."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from twostream.data.sources import Video
from twostream.data.sources.source import first_ten
from twostream.files.atomic import atomic_file
from twostream.files.errors import one_line
from twostream.files.words import counted
from twostream.metrics.multi_label import positives_of

PARTS = ("test", "validation")
Value = TypeVar("Value")
MOST_BYTES = 1 << 30  # that a file may unpack to, beyond 50 times its own size


@dataclass(frozen=True)
class Scores:
    """Scores with one row for each video that could be read.

    - `videos`: their ids, unique and sorted.
    - `labels`: positions in `classes`; of several labels a video, whether it has each class.
    - `logits`: averaged over the views of a video, before softmax, or, of several labels, the sigmoid.
    - `protocol`: "train" is the configuration's own test protocol; for the others see `twostream.config.protocols`.
    - `checkpoint`: SHA-256 of the file of the weights; "" if there is none.
    - `data`, `split`, `part`: such as "ucf101", 1, and "test" or "validation".
    - `leaked`: how many of the videos the weights were trained on.
    - `mirror`: `data.mirror` in this test; None if an older file does not say.
    - `thresholds`: of several labels, the probability above which a class is predicted; None: one half for each.

    Raises ValueError if the fields do not fit each other.
    """

    videos: tuple[str, ...]
    labels: Int[np.ndarray, " n"] | Bool[np.ndarray, "n k"]
    logits: Float32[np.ndarray, "n k"]
    classes: tuple[str, ...]
    protocol: str
    checkpoint: str
    data: str
    split: int
    part: str
    leaked: int = 0
    mirror: bool | None = None
    thresholds: Float[np.ndarray, " k"] | None = None

    @property
    def multi(self) -> bool:
        """Whether a video has several labels, or none."""
        return self.labels.ndim == 2

    def __post_init__(self) -> None:
        n, k = len(self.videos), len(self.classes)
        if self.labels.shape != ((n, k) if self.multi else (n,)) or self.logits.shape != (n, k):
            shapes = f"labels {self.labels.shape}, logits {self.logits.shape}"
            raise ValueError(f"{n} videos and {k} classes do not fit {shapes}")
        if list(self.videos) != sorted(set(self.videos)):
            raise ValueError("videos are not sorted, or one is there twice")
        if not self.multi and n and not 0 <= self.labels.min() <= self.labels.max() < k:
            raise ValueError(f"labels from {self.labels.min()} to {self.labels.max()} of {k} classes")
        if self.part not in PARTS:
            raise ValueError(f"part={self.part!r}: choose from {', '.join(PARTS)}")
        if (found := self.thresholds) is not None and not (self.multi and found.shape == (k,) and _are_shares(found)):
            raise ValueError(
                f"thresholds {found.shape}: must be a probability for each of {k} classes, of several labels"
            )

    @classmethod
    def of(cls, videos: Sequence[Video], logits: Mapping[int, np.ndarray], **described: Any) -> Scores:
        """Makes scores from {position of a video in `videos`: its logits (k,)}; `described`: the other fields.

        Raises ValueError if two of the videos have the same id.
        """
        order = sorted(logits, key=lambda index: videos[index].id)
        ids = tuple(videos[index].id for index in order)
        if twice := sorted({one for one, other in pairwise(ids) if one == other}):
            number = counted(len(twice), "video has", "videos have")
            raise ValueError(f"{number} the id of another one: {first_ten(twice)}")
        rows = [np.asarray(logits[index], np.float32) for index in order]
        labels: Any = np.array([videos[index].label for index in order], np.int64)
        if any(video.labels is not None for video in videos):
            labels = positives_of([videos[index] for index in order], len(described["classes"]))
        return cls(
            videos=ids,
            labels=labels,
            logits=np.array(rows, np.float32).reshape(len(order), len(described["classes"])),
            **described,
        )

    def save(self, path: str | Path) -> None:
        """Writes the file aside, then renames it: a partial file never looks whole."""
        path = Path(path)
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("mirror", "thresholds"):
            if content[name] is None:
                del content[name]
        for name in ("videos", "classes"):
            content[name] = np.array(content[name], dtype=np.str_)
        with atomic_file(path) as aside, aside.open("wb") as file:
            np.savez_compressed(file, **content)

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """Reads a file of scores. Raises ValueError, naming the file, if it does not hold all of their fields."""
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > MOST_BYTES + 50 * Path(path).stat().st_size:
                raise ValueError(f"{unpacked:,} bytes would come out of it")
            with np.load(path, allow_pickle=False) as file:
                names = [name for name in KINDS if name not in LATER or name in file]
                content: dict[str, Any] = {name: file[name] for name in names}
            for name in names:
                found = content[name]
                if not any(found.dtype.kind in kind and found.ndim == dimensions for kind, dimensions in KINDS[name]):
                    raise ValueError(f"{name} is {found.dtype} of {found.ndim} dimensions")
            for name in ("videos", "classes"):
                content[name] = tuple(content[name].tolist())
            for name in {"protocol", "checkpoint", "data", "split", "part", "leaked", "mirror"} & {*names}:
                content[name] = content[name].item()
            return cls(**content)
        except FileNotFoundError:
            raise ValueError(f"{path}: no such file") from None
        except Exception as error:  # every kind of damage is an exception of its own
            raise ValueError(f"{path}: is no file of scores ({one_line(error)})") from None


KINDS = {  # {name in the file: all that it may be, as (NumPy's kinds of its type, number of dimensions)}
    **dict.fromkeys(("videos", "classes"), (("U", 1),)),
    **dict.fromkeys(("protocol", "checkpoint", "data", "part"), (("U", 0),)),
    **dict.fromkeys(("split", "leaked"), (("iu", 0),)),
    "labels": (("iu", 1), ("b", 2)),
    "logits": (("f", 2),),
    "mirror": (("b", 0),),
    "thresholds": (("f", 1),),
}
LATER = ("leaked", "mirror", "thresholds")  # fields that older files, or files of one label a video, lack


def _are_shares(numbers: np.ndarray) -> bool:
    return bool(((numbers >= 0) & (numbers <= 1)).all())


def one_of_each(parts: Iterable[Mapping[int, Value]]) -> dict[int, Value]:
    """Joins what several processes have of each video, sorted by position; no video may be there twice.

    >>> list(one_of_each([{0: np.zeros(2), 2: np.ones(2)}, {1: np.ones(2)}]))
    [0, 1, 2]
    """
    whole: dict[int, Value] = {}
    for part in parts:
        assert not whole.keys() & part.keys(), "a video was scored by two processes"
        whole |= part
    return dict(sorted(whole.items()))
