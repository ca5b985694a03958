"""The notebooks run from top to bottom, and are kept without outputs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

SECONDS = 240  # for all cells of one; they take a minute or two on a machine without other work
NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def test_there_is_one_for_each_question() -> None:
    assert [path.name[0] for path in NOTEBOOKS] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch) -> None:
    """In a copy of what it needs, so that it leaves nothing here."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    root = path.parent.parent
    for name in ("train.py", "conf", "twostream"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("WANDB_MODE", "offline")
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path / "notebooks")}}
    started = time.monotonic()
    left = lambda _cell: max(1, round(started + SECONDS - time.monotonic()))  # noqa: E731
    nbclient.NotebookClient(notebook, timeout_func=left, kernel_name="python3", resources=resources).execute()
    print(f"{path.stem}: {time.monotonic() - started:.0f} s")
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output
    )
    assert "error:" not in printed, printed
    assert "Traceback" not in printed, printed
