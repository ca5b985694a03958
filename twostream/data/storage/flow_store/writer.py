"""Writes the flow of one video into a store; if several processes try, one writes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int8

from twostream.data.ahead import in_threads
from twostream.data.flow import pin_threads
from twostream.data.provenance import FACTS, source_change, source_facts
from twostream.data.sources import Video
from twostream.data.storage.container import Container, ContainerError, write_container
from twostream.data.storage.flow_store.encodings import QUALITY, encode_field
from twostream.data.storage.flow_store.manifest import FULL, clip_path, read_manifest
from twostream.data.storage.flow_store.recording import Recorder, Recording
from twostream.data.tasks import available_cores
from twostream.files.lock import Claim


class ClipResult(NamedTuple):
    """The result of one video; `done` is one of four words.

    "computed": the fields were written; "there": they were stored already; "elsewhere": another process works on them;
    "disk full": they could not be written.
    """

    done: str
    fields: int = 0
    bytes: int = 0
    seconds: float = 0.0


class StoreClip:
    """Task for `run_tasks`: writes the fields of a video, which `recorder` makes, into the store. Uses one thread.

    Does nothing if the fields are stored already, or if another process works on them. Only a few frames are in memory
    at a time. The file appears whole or not at all.
    """

    def __init__(self, root: Path, recorder: Recorder) -> None:
        self.root = root
        self.recorder = recorder

    def __call__(self, video: Video) -> ClipResult:
        _settle()
        try:
            return self._store(video)
        except OSError as error:  # a full disk is not the video's fault, and stops the whole run
            if error.errno in FULL:
                return ClipResult("disk full")
            raise

    def _store(self, video: Video) -> ClipResult:
        path = clip_path(self.root, video)
        if is_stored(path, video):
            return ClipResult("there")
        claim = Claim(path)
        _held.append(claim)  # before taking it: the process may be told to stop at any moment
        try:
            if not claim.take():
                return ClipResult("elsewhere")
            if is_stored(path, video):  # by the process that had the claim before
                return ClipResult("there")
            return self._write(path, video, claim)
        finally:
            claim.release()
            _held.remove(claim)

    def _write(self, path: Path, video: Video, claim: Claim) -> ClipResult:
        started = time.perf_counter()
        header: dict[str, Any] = {"id": video.id, "source": source_facts(video.path)}
        blobs = self._blobs(self.recorder(video), header, claim)
        write_container(path, blobs, header=lambda: header)
        return ClipResult("computed", header["fields"], path.stat().st_size, time.perf_counter() - started)

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


_held: list[Claim] = []  # the claim of this process: one at most
_settled = False


def _settle() -> None:
    """Sets up a worker process, once: one thread, and its claim is given up if it is stopped or its parent dies."""
    global _settled
    parent = multiprocessing.parent_process()
    if _settled or parent is None:
        return
    _settled = True
    pin_threads()
    signal.signal(signal.SIGTERM, lambda *_: _leave())

    def watch() -> None:
        parent.join()
        _leave()

    # otherwise the processes of a pool whose parent was killed would wait for work for ever
    threading.Thread(target=watch, daemon=True).start()


def _leave() -> None:
    for claim in list(_held):
        claim.abandon()
    os._exit(1)
