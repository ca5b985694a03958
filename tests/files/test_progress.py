"""How far long work is: a bar within 80 columns on a terminal, at most few lines in a file."""

from __future__ import annotations

import re
import sys

import pytest

from twostream.files import progress
from twostream.files.progress import begins, line, watch, watch_bytes

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
WORST = "loss 12.345  top-1 0.312  1412 clips/s"


def be_terminal(monkeypatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for name, value in {"COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time, which a test moves on."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def drawn(capsys) -> list[str]:
    """The lines that a terminal has shown, one below the other or in place of another."""
    return [text.rstrip() for text in re.split(r"[\r\n]+", CODES.sub("", capsys.readouterr().out)) if text.strip()]


def test_a_bar_fits_into_80_columns_and_loses_no_number(monkeypatch, capsys, clock) -> None:
    be_terminal(monkeypatch)
    shown = line("epoch 120/200", 2500, stays=False)
    for done, left in ((1, 83_000.0), (1600, 83_000.0), (2500, None)):
        clock[0] += 60
        shown.show(done, note=WORST, left=left)
        print("a line of others")
    shown.end()
    lines = drawn(capsys)
    assert max(map(len, lines)) <= 80
    assert lines.count("a line of others") == 3
    ends = [f"1/2,500 {WORST} 23:03:20 left", f"1,600/2,500 {WORST} 23:03:20 left", f"2,500/2,500 {WORST} 0:03:00"]
    assert all(any(text.startswith("epoch 120/200 ") and text.endswith(end) for text in lines) for end in ends), lines


def test_a_download_has_a_line_for_each_file(monkeypatch, capsys, clock) -> None:
    be_terminal(monkeypatch)
    with watch_bytes() as tell:
        for name, size in (("a.zip", 2_000_000), ("b.zip", None)):
            for done in (1_000_000, 2_000_000):
                clock[0] += 1
                tell(name, done, size)
    lines = drawn(capsys)
    assert re.fullmatch(r"a.zip \S+ 1.0/2.0 MB", next(text for text in lines if "1.0/2.0" in text))
    assert lines[-1].startswith("b.zip ")
    assert lines[-1].endswith(" 2.0 MB")


def test_in_a_file_short_work_says_nothing_and_long_work_says_so_and_when_it_is_done(capsys, clock) -> None:
    assert list(watch("examined")(iter("abc"), 3)) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""
    for number in watch("examined")(iter(range(1000)), 1000):
        clock[0] += 2
        assert number < 1000
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "examined: 6/1,000, 33 min left",
        "examined: 307/1,000, 23 min left",
        "examined: 608/1,000, 13 min left",
        "examined: 909/1,000, 3 min left",
        "examined: 1,000/1,000, 33 min",
    ]
    with watch_bytes() as tell:
        tell("a.zip", 2_000_000, 2_000_000)
    assert capsys.readouterr().out == ""


def test_only_a_terminal_is_told_why_nothing_happens_yet(monkeypatch, capsys) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    begins("Loading PyTorch")
    assert capsys.readouterr().out == ""
    be_terminal(monkeypatch)
    begins("Loading PyTorch")
    monkeypatch.setenv("LOCAL_RANK", "1")
    begins("Loading PyTorch")
    assert capsys.readouterr().out == "Loading PyTorch …\n"
