"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import inspect
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from warm import Warm

from twostream.data import frames
from twostream.models import attention, fusion, pooling, temporal
from twostream.models.backbone.over_time import ClipStage, InflatedConv
from twostream.models.backbone.units import EnteredStage, TimeFilter

torch.set_num_threads(1)  # test workers run beside each other
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a job in the background; what we start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real clips named by TWOSTREAM_REAL_DATA; the test is skipped, visibly, without it."""
    folder = os.environ.get("TWOSTREAM_REAL_DATA")
    if not folder:
        pytest.skip("needs real clips: set TWOSTREAM_REAL_DATA to the folder that holds UCF-101/ and hmdb51/")
    path = Path(folder)
    assert path.is_dir(), f"TWOSTREAM_REAL_DATA={folder!r} is not a folder"
    return path


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Runs command lines in processes of their own that need not import PyTorch."""
    process = Warm()
    yield process
    process.close()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> frames.Kept:
    """A folder for frames and fields that is not full, however full this machine's disk is."""
    monkeypatch.setattr(frames, "SPARE", 0)
    return frames.Kept(tmp_path)


# ---- the table of layers and of what tests show of each: pytest tests/models --layer-table ----

COLUMNS = ("formula", "numbers", "gradient", "autocast", "compile", "state_dict")
LAYER_NAMES = {*fusion.__all__, *pooling.__all__} - {"Align", "Fusion"} | {
    name
    for family in (attention, temporal)
    for name, value in vars(family).items()
    if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == family.__name__
} - {"Temporal"}
LAYER_NAMES |= {layer.__name__ for layer in (EnteredStage, TimeFilter, ClipStage, InflatedConv)}  # of ours in backbones


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--layer-table", action="store_true", help="print how many tests of each kind every layer passed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.user_properties += [("layer", shown) for shown in shown_by(item)]


def pytest_collection_finish() -> None:
    gc.freeze()  # a million objects that stay; looking through them again and again takes a twentieth of the time


def pytest_unconfigure() -> None:
    gc.unfreeze()


def shown_by(item: pytest.Item) -> list[tuple[str, str]]:
    """(layer, column) pairs that a test shows: by its mark `shows(column, *layers)`, or by its name and its layer."""
    pairs = [(layer.__name__, mark.args[0]) for mark in item.iter_markers("shows") for layer in mark.args[1:]]
    layers = getattr(getattr(item, "module", None), "LAYERS", {})
    column = item.name.split("[")[0].removeprefix("test_")
    made = layers.get(getattr(item, "callspec", None) and item.callspec.params.get("name"))  # type: ignore[attr-defined]
    if made and column in COLUMNS:
        layer = (made[0] if isinstance(made, tuple) else made)()
        pairs += [(type(part).__name__, column) for part in layer.modules()]
    return [pair for pair in pairs if pair[0] in LAYER_NAMES]


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    if not config.getoption("--layer-table"):
        return
    passed = Counter(
        tuple(value)
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "layer"
    )
    terminalreporter.section("layers: tests passed")
    terminalreporter.line(f"{'':<24}" + "".join(f"{column:>12}" for column in COLUMNS))
    for row in sorted(LAYER_NAMES):
        terminalreporter.line(f"{row:<24}" + "".join(f"{passed[row, column]:>12}" for column in COLUMNS))
