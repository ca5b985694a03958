"""Writes the flow of one video into a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int8

from twostream.data.ahead import in_threads
from twostream.data.provenance import FACTS, source_change, source_facts
from twostream.data.sources import Video
from twostream.data.storage.container import Container, ContainerError, write_container
from twostream.data.storage.flow_store.encodings import QUALITY, encode_field
from twostream.data.storage.flow_store.manifest import clip_path, read_manifest
from twostream.data.storage.flow_store.recording import Recorder, Recording
from twostream.data.storage.video_task import VideoTask
from twostream.data.tasks import available_cores
from twostream.files.lock import Claim


class StoreClip(VideoTask):
    """Writes the fields of a video, which `recorder` makes, into the store. Keeps only a few frames in memory."""

    items, steps = "fields", "pairs"

    def __init__(self, root: Path, recorder: Recorder) -> None:
        super().__init__(root)
        self.recorder = recorder

    def path(self, video: Video) -> Path:
        return clip_path(self.root, video)

    def is_there(self, video: Video) -> bool:
        return is_stored(self.path(video), video)

    def write(self, video: Video, claim: Claim) -> tuple[int, int]:
        path = self.path(video)
        header: dict[str, Any] = {"id": video.id, "source": source_facts(video.path)}
        blobs = self._blobs(self.recorder(video), header, claim)
        write_container(path, blobs, header=lambda: header)
        return header["fields"], path.stat().st_size

    def _blobs(self, recording: Recording, header: dict[str, Any], claim: Claim) -> Iterator[bytes]:
        """Yields the blob of every field in order. Renews the claim meanwhile; at the end fills `header`."""
        manifest, count, size = read_manifest(self.root), 0, recording.field_size

        def encode(field: Int8[np.ndarray, "h w 2"]) -> tuple[bytes, tuple[int, int]]:
            height, width = field.shape[:2]
            return encode_field(field, manifest["encoding"], manifest.get("quality", QUALITY)), (height, width)

        beside_gpu = getattr(self.recorder, "on_gpu", False)
        encoded = (
            in_threads(encode, recording.fields, available_cores()) if beside_gpu else map(encode, recording.fields)
        )
        for blob, shape in encoded:
            claim.beat()
            yield blob
            count, size = count + 1, shape
        header |= {"fields": count, "frame": list(recording.frame_size), "field": list(size)}


def is_stored(path: Path, video: Video) -> bool:
    """Whether `path` is a whole file of fields that were made from this video file."""
    if not path.exists():
        return False
    try:
        return source_change(Container(path).require({"!source": FACTS}).header["source"], video.path) is None
    except ContainerError:
        return False
