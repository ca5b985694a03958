"""The manifest of a flow store, which says how all its fields were made, and the path of each video's fields."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from twostream.data.flow import OpticalFlow
from twostream.data.sources import Video
from twostream.data.storage.absent import FlowStoreError, require_store
from twostream.data.storage.flow_store.encodings import ENCODINGS, QUALITY, check_encoding
from twostream.files.atomic import atomic_file
from twostream.files.json_yaml import read_json

VERSION = 1
SHAPE = {"!version": int, "!flow": {"!algorithm": str, "version": int}, "!encoding": str, "quality": int, "origin": str}


def make_store(
    root: Path, flow: OpticalFlow, *, encoding: str = "jpeg", quality: int = QUALITY, origin: str | None = None
) -> None:
    """Creates the folder and its manifest, or checks that an existing store was made with the same settings.

    `origin` names the tool whose files are imported; None: the fields are computed here. Raises `FlowStoreError` if
    the store has other settings, ValueError for an unknown encoding or quality.
    """
    check_encoding(encoding, quality)
    manifest = {"version": VERSION, "flow": flow.settings(), "encoding": encoding}
    if encoding == "jpeg":
        manifest["quality"] = quality
    if origin is not None:
        manifest["origin"] = origin
        del manifest["flow"]["version"]  # which is the version of our own algorithm
    path = root / "manifest.json"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as aside:
            aside.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    stored = read_manifest(root)  # another process may have been faster
    check_version(root, stored, flow.settings())
    if stored != manifest:
        raise FlowStoreError(f"{root}: a store of {stored}, not of {manifest}; choose another folder")


def read_manifest(root: Path) -> dict[str, Any]:
    """Reads the manifest of a store. Raises `FlowStoreError` if `root` has none, or one of another version."""
    path = root / "manifest.json"
    require_store(root)
    try:
        manifest = read_json(path, SHAPE, what="not the manifest of a flow store")
    except ValueError as error:
        raise FlowStoreError(str(error)) from None
    if manifest["version"] != VERSION:
        raise FlowStoreError(f"{path}: a store of version {manifest['version']}, this is version {VERSION}")
    if manifest["encoding"] not in ENCODINGS:
        raise FlowStoreError(f"{path}: encoding {manifest['encoding']!r}, this version knows {', '.join(ENCODINGS)}")
    if "origin" not in manifest:
        manifest["flow"].setdefault("version", 1)  # version 1 was not recorded
    return manifest


def check_version(root: Path, manifest: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises `FlowStoreError` if the fields were made by another version of the same algorithm, and so may differ."""
    stored, name, version = manifest["flow"], wanted["algorithm"], wanted["version"]
    if "origin" not in manifest and stored["algorithm"] == name and stored["version"] != version:
        raise FlowStoreError(
            f"{root}: made with version {stored['version']} of {name}, whose fields are others than those of version "
            f"{version}; delete the folder and run `twostream flow` again"
        )


def clip_path(root: Path, video: Video) -> Path:
    """Returns the path of a video's fields. Raises ValueError for an id that leads out of the store."""
    parts = PurePosixPath(video.id)
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError(f"video {video.id!r}: not a path below the data set")
    return root / f"{video.id}.flow"
