"""Flow computed once, on disk: a folder with one container of fields for every video, and what they were made with.

A field is stored as its 8-bit grey levels (`quantise`), u and v side by side in one picture, so that it is read by one
decoding of an independent blob. JPEG at quality 90 is off by a small fraction of a grey level; no motion at all is a
constant picture, which JPEG keeps exactly.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Int8

from twostream.data.container import Container, ContainerError, write_container
from twostream.data.decoding import VideoError, count_frames, iterate_frames
from twostream.data.flow import OpticalFlow, dequantise, quantise
from twostream.data.sources import Video

VERSION = 1
ENCODINGS = ("jpeg", "png")
SEAM = 8  # u and v meet between two blocks of JPEG, or one would ring into the other
STALE = 600.0  # seconds after which the claim of a process on another machine counts as given up


class FlowStoreError(RuntimeError):
    """A store that does not hold the flow that is asked for."""


class FlowStore:
    """Reads the fields of a store at `root`, for the flow that `flow` describes.

    `fields` and `frame_size` stand in for computing. Raises `FlowStoreError`, with both values, for a store that was
    made with another algorithm, other parameters or another bound, and for a video that has changed since.
    """

    def __init__(self, root: str | Path, flow: OpticalFlow) -> None:
        self.root = Path(root).expanduser()
        manifest = read_manifest(self.root)
        wanted = flow.settings()
        for key in sorted({*wanted, *manifest["flow"]}):
            stored = manifest["flow"].get(key)
            if stored != wanted.get(key):
                raise FlowStoreError(
                    f"flow.store={str(root)!r}: made with {key}={stored!r}, wanted is {key}={wanted.get(key)!r}; "
                    "choose the flow options of the store, or make another store"
                )
        self.bound = flow.bound
        self._open: dict[str, Container] = {}

    def fields(
        self, video: Video, pairs: Iterable[tuple[int, int]] | np.ndarray
    ) -> dict[tuple[int, int], Float32[np.ndarray, "h w 2"]]:
        """The fields of frame pairs (i, i+1), and zeros for (i, i); any other pair is a ValueError."""
        container = self._container(video)
        height, width = container.header["field"]
        found = {}
        for i, j in dict.fromkeys((int(i), int(j)) for i, j in pairs):
            if i == j:
                found[i, j] = np.zeros((height, width, 2), np.float32)
            elif j == i + 1 and i < len(container):
                found[i, j] = dequantise(decode_field(container[i], height, width), self.bound)
            else:
                raise ValueError(
                    f"{container.path}: no field from frame {i} to {j}; it has {len(container)}, from i to i+1"
                )
        return found

    def frame_size(self, video: Video) -> tuple[int, int]:
        """Height and width of the video's frames."""
        height, width = self._container(video).header["frame"]
        return height, width

    def count(self, video: Video) -> int:
        """How many frames the video has."""
        return len(self._container(video)) + 1

    def _container(self, video: Video) -> Container:
        if video.id not in self._open:
            path = clip_path(self.root, video)
            if not path.is_file():
                raise FlowStoreError(
                    f"{path}: not there; complete the store with `twostream flow` and the same options"
                )
            container = Container(path)
            if video.path.is_file():  # flow can be trained on without the videos
                stored, now = container.header["source"], file_hash(video.path)
                if stored != now:
                    raise FlowStoreError(f"{path}: made from a file with SHA-256 {stored}, {video.path} has {now}")
            self._open[video.id] = container
        return self._open[video.id]


class ClipResult(NamedTuple):
    """What `store_clip` did: "computed" the fields, found them "there", or left them to another: "elsewhere"."""

    done: str
    fields: int = 0
    bytes: int = 0
    seconds: float = 0.0


def make_store(root: Path, flow: OpticalFlow, *, encoding: str = "jpeg", quality: int = 90) -> None:
    """Create the folder and its manifest, or check that the store there was begun with the same settings."""
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding={encoding!r}: choose from {', '.join(ENCODINGS)}")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality={quality!r}: must lie between 1 and 100")
    manifest = {"version": VERSION, "flow": flow.settings(), "encoding": encoding}
    if encoding == "jpeg":
        manifest["quality"] = quality
    path = root / "manifest.json"
    if path.exists():
        stored = read_manifest(root)
        if stored != manifest:
            raise FlowStoreError(f"{root}: a store of {stored}, not of {manifest}; choose another folder")
        return
    root.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".manifest.{os.getpid()}.tmp")
    try:
        aside.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read_manifest(root: Path) -> dict[str, Any]:
    """What the fields of a store were made with. Raises `FlowStoreError` where there is no store of this version."""
    path = root / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version, _, _ = manifest["version"], manifest["flow"]["algorithm"], manifest["encoding"]
    except FileNotFoundError:
        raise FlowStoreError(f"{root}: no flow store (no manifest.json); make one with `twostream flow`") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FlowStoreError(f"{path}: not the manifest of a flow store ({type(error).__name__}: {error})") from None
    if version != VERSION:
        raise FlowStoreError(f"{path}: a store of version {version}, this is version {VERSION}")
    return manifest


def clip_path(root: Path, video: Video) -> Path:
    """Where a video's fields are. Raises ValueError for an id that would lead out of the store."""
    parts = PurePosixPath(video.id)
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError(f"video {video.id!r}: not a path below the data set")
    return root / f"{video.id}.flow"


def store_clip(root: Path, video: Video, flow: OpticalFlow, *, decoder: str = "decord") -> ClipResult:
    """Compute and store the fields of one video, unless they are there or another process is about it.

    Frames are read one after the other, two at a time in memory. The file appears whole or not at all.
    """
    path, manifest = clip_path(root, video), read_manifest(root)
    source = file_hash(video.path)
    if is_stored(path, source):
        return ClipResult("there")
    claim = path.with_name(f".{path.name}.claim")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not take(claim):
        return ClipResult("elsewhere")
    started = time.perf_counter()
    header: dict[str, Any] = {"source": source, "id": video.id}
    try:
        if is_stored(path, source):  # by whoever had the claim before
            return ClipResult("there")
        blobs = encoded_fields(video.path, flow, manifest, header, claim, decoder)
        write_container(path, blobs, header=lambda: header)
    finally:
        claim.unlink(missing_ok=True)
    return ClipResult("computed", header["fields"], path.stat().st_size, time.perf_counter() - started)


def is_stored(path: Path, source: str) -> bool:
    """Whether the whole fields of a video of this hash are at `path`."""
    try:
        return Container(path).header["source"] == source
    except ContainerError:
        return False


def encoded_fields(
    video: Path, flow: OpticalFlow, manifest: dict[str, Any], header: dict[str, Any], claim: Path, decoder: str
) -> Iterator[bytes]:
    """The blob of every field in turn; fills `header` with sizes and count, and keeps the claim fresh."""
    previous, count, touched = None, 0, time.monotonic()
    for index, frame in enumerate(iterate_frames(video, decoder=decoder)):
        if previous is None:
            header["frame"] = list(frame.shape[:2])
            header["field"] = list(flow.working_size(*frame.shape[:2]))
        else:
            [field] = flow.fields({index - 1: previous, index: frame}, [(index - 1, index)]).values()
            yield encode_field(quantise(field, flow.bound), manifest["encoding"], manifest.get("quality", 90))
            count += 1
        previous = frame
        if time.monotonic() - touched > STALE / 10:
            os.utime(claim)
            touched = time.monotonic()
    header["fields"] = count
    if previous is None or count + 1 != count_frames(video, decoder=decoder):
        raise VideoError(video, f"is damaged: {count + 1} frames could be decoded")


def encode_field(levels: Int8[np.ndarray, "h w 2"], encoding: str, quality: int) -> bytes:
    """u beside v as one grey picture, 128 = no motion."""
    padded = np.pad(levels, ((0, 0), (0, -levels.shape[1] % SEAM), (0, 0)), mode="edge")
    picture = (np.concatenate([padded[..., 0], padded[..., 1]], axis=1).astype(np.int16) + 128).astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if encoding == "jpeg" else []
    written, blob = cv2.imencode(".jpg" if encoding == "jpeg" else ".png", picture, options)
    assert written
    return blob.tobytes()


def decode_field(blob: bytes, height: int, width: int) -> Int8[np.ndarray, "h w 2"]:
    """The grey levels of a field; -128 does not occur."""
    picture = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None  # the blob's checksum was right
    levels = np.maximum(picture, 1).astype(np.int16) - 128
    half = picture.shape[1] // 2
    return np.stack([levels[:height, :width], levels[:height, half : half + width]], axis=-1).astype(np.int8)


def take(claim: Path) -> bool:
    """Whether this process has made the claim file, or taken over one whose owner is gone."""
    try:
        with claim.open("x") as file:
            file.write(f"{socket.gethostname()} {os.getpid()}")
        return True
    except FileExistsError:
        pass
    if not is_stale(claim):
        return False
    try:  # of several that see it stale, one can rename it
        mine = claim.with_name(f"{claim.name}.{os.getpid()}")
        claim.rename(mine)
        mine.unlink()
    except FileNotFoundError:
        return False
    return take(claim)


def is_stale(claim: Path) -> bool:
    """Whether the process that made a claim is gone: dead on this machine, or silent for long on another."""
    try:
        host, _, process = claim.read_text().partition(" ")
        age = time.time() - claim.stat().st_mtime
    except FileNotFoundError:
        return False
    if host == socket.gethostname() and process.isdigit():
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
    return age > STALE


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
