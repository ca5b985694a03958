"""docs/terminal.md shows what is printed: its fixed lines, words and widths are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from twostream.cli.task import LOADING
from twostream.launch.header import COLUMNS, LABEL
from twostream.training.shown import COLUMNS as TABLE
from twostream.training.shown import LONG

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "terminal.md").read_text()
BLOCKS = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)


def test_the_recording_is_what_is_printed_now() -> None:
    first, end, wrong, stopped = (block.splitlines() for block in BLOCKS)
    assert first[1] == LOADING
    assert all(len(line) <= COLUMNS for line in (*first, *end, *wrong) if not line.startswith(("W&B", "$")))
    sources = "".join((ROOT / "twostream" / "launch" / f"{name}.py").read_text() for name in ("header", "ending"))
    labels = {line[:LABEL].strip() for line in (*first[4:14], *end[2:4])} - {"rgb", "flow"}
    assert labels == {name for name in labels if re.search(rf'"{name}["\s]', sources)}
    assert first[16 - 1] == " " * len("epoch 1/6") + "".join(f"  {head:>10}" for head in list(TABLE.values())[:5])
    assert re.fullmatch(r"epoch 4/6 ━\S+ 43/57 loss \S+  top-1 \S+  31 clips/s \S+ left", first[-1])
    assert LOADING in stopped


def test_how_long_is_long() -> None:
    assert "will take more than an hour" in " ".join(PAGE.split())
    assert LONG == 3600
