"""Archives for the tests beside, good and malicious; rar files are written by hand, uncompressed (RAR 4)."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

FOLDER, LINK = stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777


def write_zip(path: Path, files: Mapping[str, bytes], *, links: Mapping[str, str] = {}) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name, target in links.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = LINK << 16
            archive.writestr(info, target)
    return path


def write_tar(path: Path, files: Mapping[str, bytes], *, special: Mapping[str, tuple[bytes, str]] = {}) -> Path:
    """`special`: name -> (type of the entry, what it links to)."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, (kind, target) in special.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_rar(path: Path, files: Mapping[str, bytes], *, links: Mapping[str, str] = {}, slip: bool = False) -> Path:
    """Marker, main header, a header and the plain content of each file, end; with `slip` the links come first."""
    blocks = [b"Rar!\x1a\x07\x00", _rar_block(0x73, 0, bytes(6))]
    entries = [(name, stat.S_IFREG | 0o644, content) for name, content in files.items()]
    entries += [(name, LINK, target.encode()) for name, target in links.items()]
    for name, mode, content in sorted(entries, key=lambda entry: slip and entry[1] != LINK):
        size, text = len(content), name.replace("/", "\\").encode()  # rar paths have backslashes
        fields = struct.pack("<IIBIIBBHI", size, size, 3, zlib.crc32(content), 0x5A21_0000, 20, 0x30, len(text), mode)
        blocks += [_rar_block(0x74, 0x8000, fields + text), content]
    blocks.append(_rar_block(0x7B, 0x4000, b""))
    path.write_bytes(b"".join(blocks))
    return path


def _rar_block(kind: int, flags: int, fields: bytes) -> bytes:
    head = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
    return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head
