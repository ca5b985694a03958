"""What pictures say: their ticks, titles and legends; how they look is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from twostream.metrics import plots
from twostream.metrics.plots import LINES, save_learning_curves


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    saved: list[Figure] = []
    keep = plots.save_figure

    def save(figure: Figure, path: Path, **options: int) -> None:
        keep(figure, path, **options)
        saved.append(figure)

    monkeypatch.setattr(plots, "save_figure", save)
    return saved


@pytest.mark.parametrize("epochs", [1, 2, 4, 30, 500])
def test_learning_curves(epochs: int, tmp_path: Path, figures: list[Figure]) -> None:
    names = [name for name in LINES if name != "val/map"]  # a run has it, or top-1
    curve = ([float(epoch + 1) for epoch in range(epochs)], [0.5] * epochs)
    save_learning_curves(
        dict.fromkeys([*names, "test/top1"], curve), tmp_path / "curves.png", title="ucf101 at $conv5$"
    )
    [figure] = figures
    assert figure.get_suptitle() == r"ucf101 at \$conv5\$", "a name is no formula"
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks == [int(tick) for tick in ticks]
        assert 1 <= min(ticks) <= max(ticks) <= epochs
        legend = axes.get_legend()
        assert legend is not None
        assert legend.get_window_extent().x0 >= axes.get_window_extent().x1, "beside the curves"
        looks = [(line.get_color(), str(line._dash_pattern), line.get_marker()) for line in axes.lines]  # type: ignore[attr-defined]
        assert len({*looks}) == len(looks)
        widths = [line.get_linewidth() for line in axes.lines]
        assert widths[0] > max(widths[1:]), "the line below is seen where two are equal"
    assert {text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()} == {
        name.replace("/", " ").replace("_", " ") for name in names
    }


def test_no_curve_at_all_is_drawn_too(tmp_path: Path, figures: list[Figure]) -> None:
    save_learning_curves({}, tmp_path / "curves.png", title="a run of no epoch")
    assert [axes.get_legend() for axes in figures[0].axes] == [None, None]
