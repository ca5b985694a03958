"""A leak shows, and its absence too."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from twostream import soak


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_usage_counts_memory_and_files_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "children", lambda process: [])  # those of other tests come and go
    memory, files = soak.usage()
    block = mmap.mmap(-1, 256 << 20)  # not from malloc, which may have that much in hand
    block.write(b"x" * len(block))
    opened = [open("/dev/null") for _ in range(7)]  # noqa: SIM115
    more, other_files = soak.usage()
    for file in (block, *opened):
        file.close()
    assert more - memory == pytest.approx(256, abs=64)
    assert other_files - files == 7


def test_the_plot_shows_each_run(tmp_path: Path) -> None:
    soak.save_plot({"a": [(1.0, 2), (1.0, 2)], "b": [(3.0, 4)]}, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
