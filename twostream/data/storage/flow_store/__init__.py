"""A flow store: flow on disk, in a folder with one container of fields per video and a manifest of how it was made.

A field is stored as its 8-bit grey levels (`quantise`), with u and v side by side in one picture, so that reading it
decodes one blob and no other. JPEG at quality 90 is off by a small fraction of a grey level. A field without motion is
a constant picture, which every encoding keeps exactly.
"""

from twostream.data.storage.absent import FlowStoreError
from twostream.data.storage.flow_store.encodings import ENCODINGS, QUALITY, encode_field
from twostream.data.storage.flow_store.jpeg_folders import NAMINGS, FromJPEGs
from twostream.data.storage.flow_store.manifest import clip_path, make_store, read_manifest
from twostream.data.storage.flow_store.reader import READING, FlowStore
from twostream.data.storage.flow_store.recording import FromVideo, Recorder
from twostream.data.storage.flow_store.writer import StoreClip
from twostream.data.storage.video_task import ClipResult
from twostream.files.lock import Claim

__all__ = [
    "ENCODINGS",
    "NAMINGS",
    "QUALITY",
    "READING",
    "Claim",
    "ClipResult",
    "FlowStore",
    "FlowStoreError",
    "FromJPEGs",
    "FromVideo",
    "Recorder",
    "StoreClip",
    "clip_path",
    "encode_field",
    "make_store",
    "read_manifest",
]
