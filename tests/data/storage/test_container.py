"""Many blobs in one file: what was written comes back, and nothing else is taken for it."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path

import pytest

from twostream.data.storage.container import Container, ContainerError, write_container

BLOBS = [b"first", b"", bytes(range(256)) * 20, b"last"]


def read_all(path: Path) -> list[bytes]:
    container = Container(path)
    return [container[index] for index in range(len(container))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_container(tmp_path / "clip.flow", iter(BLOBS), header={"fields": 4, "name": "é"})
    return tmp_path / "clip.flow"


def test_blobs_and_header_come_back(path: Path) -> None:
    container = Container(path)
    assert [container[index] for index in (3, 0, 2, 1)] == [BLOBS[3], BLOBS[0], BLOBS[2], BLOBS[1]]
    assert (len(container), container.header) == (4, {"fields": 4, "name": "é"})
    assert pickle.loads(pickle.dumps(container))[2] == BLOBS[2]
    with pytest.raises(IndexError, match="blob 4 does not exist; there are 4"):
        container[4]


def test_a_header_may_be_known_behind_the_last_blob_only(tmp_path: Path) -> None:
    seen: list[bytes] = []
    write_container(tmp_path / "x", (seen.append(b) or b for b in BLOBS), header=lambda: {"count": len(seen)})
    assert Container(tmp_path / "x").header == {"count": 4}


def test_no_shorter_file_is_read_as_whole(path: Path) -> None:
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        with pytest.raises(ContainerError, match=str(path)):
            Container(path)


def test_every_flipped_byte_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for position in {
        *random.Random(0).sample(range(len(whole)), 300),
        *range(12),
        *range(len(whole) - 200, len(whole)),
    }:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x40]) + whole[position + 1 :])
        with pytest.raises(ContainerError):
            read_all(path)


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    def failing():
        yield b"new"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_container(path, failing(), header={})
    assert Container(path)[0] == b"first"
    assert os.listdir(path.parent) == ["clip.flow"]
