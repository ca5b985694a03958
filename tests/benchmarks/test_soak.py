"""A leak shows, and its absence too."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from warm import Warm

from benchmarks import soak

SCRIPT = """
import mmap, os
from benchmarks import soak
soak.usage()
memory, files = soak.usage()
block = mmap.mmap(-1, 64 << 20)  # not from malloc, which may have that much in hand
block.write(b"x" * len(block))
opened = [os.open("/dev/null", 0) for _ in range(7)]
more, other_files = soak.usage()
print(round(more - memory), other_files - files)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_usage_counts_memory_and_files(tmp_path: Path, warm: Warm) -> None:
    """In a process of its own: other tests leave theirs, which come and go."""
    (tmp_path / "use.py").write_text(SCRIPT)
    done = warm.run([str(tmp_path / "use.py")], cwd=tmp_path, env={**os.environ}, timeout=200)
    memory, files = map(int, done.stdout.split())
    assert memory == pytest.approx(64, abs=8)
    assert files == 7


def test_the_plot_shows_each_run(tmp_path: Path) -> None:
    soak.save_plot({"a": [(1.0, 2), (1.0, 2)], "b": [(3.0, 4)]}, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
