"""The number of a run that is compared, and how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from twostream.runs.sweep import Cell

SHARES = ("top1", "top5", "mean_class", "map", "macro_f1", "micro_f1")
ERRORS = ("loss", "ece")  # the lower the better


HEADLINES = ("test/top1", "test/map")  # shown unless another metric is asked for


class Metric(NamedTuple):
    """A metric of results.json, by its name there."""

    name: str = "test/top1"

    @property
    def is_share(self) -> bool:
        return self.name.rsplit("/", 1)[-1] in SHARES

    @property
    def lower_is_better(self) -> bool:
        return self.name.rsplit("/", 1)[-1] in ERRORS

    @property
    def title(self) -> str:
        """The name, with its unit.

        >>> Metric("test/top1").title, Metric("test/loss").title
        ('test/top1, %', 'test/loss')
        """
        return f"{self.name}, %" if self.is_share else self.name

    def text(self, value: float | None, *, signed: bool = False) -> str:
        """Formats a share in per cent with two decimals, anything else with four; "" for None.

        >>> Metric("test/top1").text(0.85961), Metric("test/loss").text(0.5), Metric().text(-0.01, signed=True)
        ('85.96', '0.5000', '−1.00')
        """
        if value is None:
            return ""
        sign = "+" if signed else ""
        text = f"{100 * value:{sign}.2f}" if self.is_share else f"{value:{sign}.4f}"
        return text.replace("-", "−")

    def mean_std(self, mean: float | None, std: float | None) -> str:
        """Formats mean and spread; a single run has no spread.

        >>> Metric().mean_std(0.5, 0.01), Metric().mean_std(0.5, None), Metric().mean_std(None, None)
        ('50.00 ± 1.00', '50.00', '—')
        """
        if mean is None:
            return "—"
        return self.text(mean) if std is None else f"{self.text(mean)} ± {self.text(std)}"

    def of(self, cell: Cell) -> float | None:
        """Returns the cell's value, or None if it has not finished, or its value is absent or not a finite number."""
        value = cell.results["metrics"].get(self.name) if cell.state == "finished" and cell.results else None
        return float(value) if value is not None and isfinite(value) else None


def choose_metric(name: str | None, cells: Sequence[Cell]) -> Metric:
    """Returns the metric of that name; None: test/top1, or test/map where no run has that: of several labels a video.

    Raises ValueError, with those that the finished runs have, if none of them has it.
    """
    measured = [cell.results["metrics"] for cell in cells if cell.results]
    choices = list(dict.fromkeys(metric for metrics in measured for metric in metrics))
    if name is None:
        name = next((one for one in HEADLINES if one in choices), HEADLINES[0])
    if measured and name not in choices:
        raise ValueError(f"metric={name!r}: no run has it; choose from {', '.join(choices)}")
    return Metric(name)
