"""Every option of conf/ through every command: `pytest -m matrix`, hours; a covering sample of it without the marker.

A cell passes (numbers are finite, commands agree with each other) or is refused by one line. Which cells are refused
is written down in `REFUSED`: a refusal that is not there, or does not come, is a failure.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cells import Cell, all_cells, small, words_of
from commands import Commands
from warm import Warm

ROOT = Path(__file__).parents[2]
REFUSED: Mapping[str, Mapping[str, str]] = {}


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = os.environ.get("TWOSTREAM_CACHE") or str(tmp_path_factory.mktemp("cache"))
    return {**os.environ, "TWOSTREAM_CACHE": cache, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}


@pytest.fixture(scope="session")
def streams(tmp_path_factory: pytest.TempPathFactory, warm: Warm, environment: dict[str, str]) -> Mapping[str, Path]:
    """A run of each stream, to start towers from."""
    folder = tmp_path_factory.mktemp("streams")
    for stream in ("rgb", "flow"):
        words = [str(ROOT / "train.py"), *small([f"streams={stream}"]), f"hydra.run.dir={folder / stream}"]
        assert warm.run(words, cwd=folder, env=environment, timeout=570).returncode == 0
    return {stream: folder / stream for stream in ("rgb", "flow")}


@pytest.fixture(scope="session")
def tally() -> Iterator[dict[str, dict[str, str]]]:
    """{cell: {command: what it said}}; with MATRIX_TABLE=FILE written there, a line for each cell."""
    told: dict[str, dict[str, str]] = {}
    yield told
    if path := os.environ.get("MATRIX_TABLE"):
        Path(path).write_text("".join(json.dumps([name, said]) + "\n" for name, said in told.items()))


@pytest.mark.matrix
@pytest.mark.parametrize("cell", all_cells(), ids=lambda cell: f"{cell.kind}: {cell.name}")
def test_every_command(cell: Cell, tmp_path: Path, warm: Warm, environment, streams, tally) -> None:
    real = os.environ.get("TWOSTREAM_REAL_DATA")
    words = words_of(cell, real=Path(real) if real else None, streams=streams)
    if real is None and any("{real}" in word for word in cell.needs):
        pytest.skip("needs real clips: set TWOSTREAM_REAL_DATA")
    commands = Commands(warm, environment, tmp_path)
    tally[f"{cell.kind}: {cell.name}"] = commands.said
    try:
        commands.all(words)
    finally:
        shutil.rmtree(tmp_path, ignore_errors=True)  # checkpoints of hundreds of networks
    check_refusals(cell, commands.said)


def check_refusals(cell: Cell, said: Mapping[str, str]) -> None:
    """A cell is refused where, and as, it is written down."""
    expected = REFUSED.get(cell.name, {})
    refused = {command: line for command, line in said.items() if line != "passed"}
    assert refused.keys() == expected.keys(), f"refused: {refused}"
    for command, line in refused.items():
        assert re.search(expected[command], line), f"{command}: {line}"
