"""Tasks in other processes: each item has one outcome, whatever happens to the process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from twostream.data.tasks import Outcome, run_tasks


def double(item: int) -> int:
    if item == 3:
        raise ValueError("three\nis not wanted")
    if item == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * item


def die_once(path: str) -> str:
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def test_errors_and_dead_processes_cost_their_own_item_alone() -> None:
    outcomes = sorted(run_tasks(double, range(20), workers=2))
    assert [outcome.item for outcome in outcomes] == list(range(20))
    assert outcomes[3] == Outcome(3, None, "ValueError: three is not wanted")
    assert "process died" in (outcomes[5].error or "")
    assert all(outcome == Outcome(outcome.item, 2 * outcome.item) for outcome in outcomes if outcome.item not in (3, 5))


def test_what_died_once_is_tried_again(tmp_path: Path) -> None:
    [outcome] = run_tasks(die_once, [str(tmp_path / "seen")], workers=1)
    assert outcome.value == "done"


def test_wrong_engine_and_number_of_workers() -> None:
    with pytest.raises(ValueError, match="engine='spark': choose from local, ray"):
        list(run_tasks(double, [], workers=1, engine="spark"))
    with pytest.raises(ValueError, match="workers=0"):
        list(run_tasks(double, [], workers=0))
