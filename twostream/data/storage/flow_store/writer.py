"""One clip of a store, made by whichever process comes first."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from twostream.data.flow import pin_threads
from twostream.data.provenance import FACTS, source_change, source_facts
from twostream.data.sources import Video
from twostream.data.storage.container import Container, ContainerError, write_container
from twostream.data.storage.flow_store.encodings import QUALITY, encode_field
from twostream.data.storage.flow_store.manifest import FULL, clip_path, read_manifest
from twostream.data.storage.flow_store.recording import Recorder, Recording
from twostream.files.lock import Claim


class ClipResult(NamedTuple):
    """What was done: "computed" the fields, found them "there", left them to a process "elsewhere", "disk full"."""

    done: str
    fields: int = 0
    bytes: int = 0
    seconds: float = 0.0


class StoreClip:
    """A task for `run_tasks`, with one thread: the fields of a video from a recorder into the store.

    Unless they are there, or another process is about it. Frames are read one after the other, few at a time in memory.
    The file appears whole or not at all.
    """

    def __init__(self, root: Path, recorder: Recorder) -> None:
        self.root = root
        self.recorder = recorder

    def __call__(self, video: Video) -> ClipResult:
        _settle()
        try:
            return self._store(video)
        except OSError as error:  # no fault of the video: the whole run has to stop
            if error.errno in FULL:
                return ClipResult("disk full")
            raise

    def _store(self, video: Video) -> ClipResult:
        path = clip_path(self.root, video)
        if is_stored(path, video):
            return ClipResult("there")
        claim = Claim(path)
        _held.append(claim)  # before it is taken: the process may be told to stop at any moment
        try:
            if not claim.take():
                return ClipResult("elsewhere")
            if is_stored(path, video):  # by whoever had the claim before
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
        """The blob of every field in turn; fills `header` with count and sizes, and keeps the claim fresh."""
        manifest, count, size = read_manifest(self.root), 0, recording.field_size
        for field in recording.fields:
            claim.beat()
            yield encode_field(field, manifest["encoding"], manifest.get("quality", QUALITY))
            count, size = count + 1, field.shape[:2]
        header |= {"fields": count, "frame": list(recording.frame_size), "field": list(size)}


def is_stored(path: Path, video: Video) -> bool:
    """Whether the whole fields of this very video file are at `path`."""
    if not path.exists():
        return False
    try:
        return source_change(Container(path).require({"!source": FACTS}).header["source"], video.path) is None
    except ContainerError:
        return False


_held: list[Claim] = []  # by this process, one at most
_settled = False


def _settle() -> None:
    """Once in each process of a pool: one thread; nothing stays behind when it is told to stop, or left alone."""
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

    # the processes of a pool whose parent was killed would wait for work for ever
    threading.Thread(target=watch, daemon=True).start()


def _leave() -> None:
    for claim in list(_held):
        claim.abandon()
    os._exit(1)
