"""What each stream contributes, in a sweep's report: which runs are compared, and when nothing is shown."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from made_sweeps import results, save_scores, sweep, write

from twostream.report import as_text, build_report
from twostream.report.contributions import as_data, settings
from twostream.report.html import as_html, page_data
from twostream.report.markdown import as_markdown
from twostream.runs.sweep import Sweep

EVIL = "<b>a</b>"
CLASSES = (EVIL, "b")
LABELS = [0] * 20 + [1] * 20
RIGHT = {"rgb": [1, 0] * 20, "flow": [0, 1] * 10 + [0] * 20, "both": [1] * 20 + [1, 0] * 10}


def made(folder: Path, *, axes=None, right=RIGHT) -> Sweep:
    """Runs of RGB, of flow and of both, each with two seeds; `right`: what they have right of two classes of 20."""
    axes = axes or {"streams": ("rgb", "flow", "[rgb,flow]"), "seed": ("0", "1")}
    planned = sweep(axes, lambda *_: 0.5, folder / "sweep")
    cells = []
    for cell in planned.cells:
        streams = cell.overrides["streams"].strip("[]").split(",")
        described = results(0.5, weights=dict.fromkeys(streams, "random"), seed=int(cell.overrides["seed"]))
        cells.append(cell._replace(results=described))
    planned = planned._replace(cells=tuple(cells))
    write(planned)
    for cell in planned.cells:
        streams = cell.overrides["streams"].strip("[]").split(",")
        shown = np.array(right["both" if len(streams) > 1 else streams[0]])
        logits = np.eye(2, dtype=np.float32)[np.where(shown, LABELS, 1 - np.array(LABELS))]
        assert cell.folder is not None
        save_scores(cell.folder / "test_scores.npz", LABELS, logits, CLASSES)
    return planned


def test_a_sweep_of_streams(tmp_path: Path) -> None:
    """RGB has 20 of 40, the fusion 30, all won in the first class."""
    report = build_report(made(tmp_path), contributions=settings)
    [setting] = report.contributions
    assert (setting.label, setting.found.runs, setting.planned) == ("streams=[rgb,flow]", 2, 2)
    assert setting.found.gain(0).value == pytest.approx(0.25)
    said = f"streams=[rgb,flow]: flow adds +25.0 points to rgb (95 % interval 10.3 to 38.0), most for {EVIL}"
    assert said in as_text(report)
    page = as_markdown(report)
    assert "## What each stream contributes" in page
    assert "most for &lt;b&gt;a&lt;/b&gt;**" in page
    assert (
        "| streams=\\[rgb,flow\\] | 2 | 50.0 | 25.0 | 75.0 | 75.0 | +25.0 | 10.3 to 38.0 | 0.0 | 50.0 | 25.0 | 25.0 |"
        in page
    )
    data = page_data(report)["contributions"]
    assert data["settings"][0]["kinds"] == [
        ["both", [0, 0]],
        ["only rgb", [0, 40]],
        ["only flow", [0, 20]],
        ["neither", [20, 0]],
    ]


def test_fusions_share_the_runs_of_single_streams(tmp_path: Path) -> None:
    """Single streams were run with the default fusion; a fusion with another number of epochs has none beside it."""
    axes = {
        "streams": ("rgb", "flow", "[rgb,flow]"),
        "fusion": ("default", "sum", "conv"),
        "epochs": ("1", "2"),
        "seed": ("0",),
    }
    whole = made(tmp_path, axes=axes)

    def is_run(cell) -> bool:
        alone = cell.overrides["streams"] in ("rgb", "flow")
        return cell.overrides["fusion"] == "default" and cell.overrides["epochs"] == "1" if alone else True

    kept = whole._replace(cells=tuple(cell for cell in whole.cells if is_run(cell)))
    found = settings(build_report(kept))
    assert [setting.label for setting in found] == [
        f"streams=[rgb,flow] fusion={fusion} epochs=1" for fusion in ("default", "sum", "conv")
    ]


@pytest.mark.parametrize("lacking", ["rgb", "flow", "[rgb,flow]"])
def test_nothing_is_shown_without_all_three(tmp_path: Path, lacking: str) -> None:
    whole = made(tmp_path)
    kept = whole._replace(cells=tuple(cell for cell in whole.cells if cell.overrides["streams"] != lacking))
    report = build_report(kept)
    assert as_data(report) is None
    assert "contributes" not in as_markdown(report)
    assert "adds" not in as_text(report)


def test_other_seeds_are_no_partners(tmp_path: Path) -> None:
    whole = made(tmp_path)
    kept = [cell for cell in whole.cells if cell.overrides != {"streams": "rgb", "seed": "0"}]
    [setting] = settings(build_report(whole._replace(cells=tuple(kept))))
    assert (setting.found.runs, setting.planned) == (1, 2)
    assert setting.found.p(0) == pytest.approx(2 / 2**10), "10 : 0"


def test_of_other_videos_nothing_is_said(tmp_path: Path) -> None:
    whole = made(tmp_path)
    folder = whole.cells[0].folder
    assert folder is not None
    save_scores(folder / "test_scores.npz", [0, 1], np.eye(2, dtype=np.float32), CLASSES)
    assert settings(build_report(whole)) == []


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_in_a_browser(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(as_html(build_report(made(tmp_path), contributions=settings)))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'chromium'}"]
    done = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=200, check=True
    )
    assert "flow adds +25.0 points to rgb" in done.stdout
    assert done.stdout.count('class="gain"') == 2
    assert "only rgb</strong> right alone: 40 of 80 (50.0 %), fused right in 40 of these" in done.stdout
    assert "<b>a</b>" not in done.stdout.split("</script>")[-1]
