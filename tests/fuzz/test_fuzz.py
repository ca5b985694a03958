"""Wrong input of every kind ends in a clear error or a correct result: no hang, crash, memory without end, riddle.

`pytest -m slow tests/fuzz -s` runs long and prints a table. FUZZ_SECONDS (a kind; 20), FUZZ_SEED and
FUZZ_KINDS (with commas) choose.
"""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from kinds import KINDS
from worker import Outcome, outcomes

SHORT = {"sweep folder": 6, "run folder": 3, "flow store": 20, "packed frames": 20, "archives": 20}


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """pytest-xdist cannot pass on what was logged of names that are not UTF-8."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.in_process])
def test_a_few_of_each(name: str, tmp_path: Path) -> None:
    found = list(islice(outcomes(KINDS[name], tmp_path / "input", seed="short"), SHORT.get(name, 40)))
    assert [outcome for outcome in found if outcome.verdict == "finding"] == []


@pytest.mark.slow
def test_many_of_each(tmp_path: Path) -> None:
    seconds, seed = float(os.environ.get("FUZZ_SECONDS", "20")), os.environ.get("FUZZ_SEED", "0")
    names = os.environ["FUZZ_KINDS"].split(",") if "FUZZ_KINDS" in os.environ else list(KINDS)
    rows, findings = [], []
    for name in names:
        if name == "real videos" and "TWOSTREAM_REAL_DATA" not in os.environ:
            continue
        started = time.perf_counter()
        found = in_worker(name, seconds, seed, tmp_path)
        counts = Counter(outcome.verdict for outcome in found)
        took = time.perf_counter() - started
        rows.append(f"{name:<16}{len(found):>8}{took:>9.0f}" + "".join(f"{counts[v]:>9}" for v in VERDICTS))
        findings += [outcome for outcome in found if outcome.verdict == "finding"]
        print(rows[-1], flush=True)
    print(f"\n{'input':<16}{'tried':>8}{'seconds':>9}{'errors':>9}{'results':>9}{'findings':>9}", *rows, sep="\n")
    for outcome in findings[:40]:
        print("\n", outcome.kind, outcome.seed, outcome.file, outcome.text, sep=" | ")
    assert not findings


VERDICTS = ("error", "result", "finding")


def in_worker(name: str, seconds: float, seed: str, folder: Path) -> list[Outcome]:
    """What another process finds, which is started anew where it hangs or dies."""
    found: list[Outcome] = []
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        work = folder / name.replace(" ", "-")
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), name, str(left), seed, str(work)]
        process = subprocess.Popen(
            [*command, str(len(found))], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stderr is not None
        begun = None
        while True:
            ready, _, _ = select.select([process.stdout], [], [], KINDS[name].limit + 60)
            line = process.stdout.readline() if ready else ""
            if not line:
                break
            outcome = Outcome(*json.loads(line))
            begun = outcome if outcome.verdict == "begun" else None
            if begun is None:
                found.append(outcome)
        process.kill()
        code, said = process.wait(), process.stderr.read()
        if code == 0:
            break
        assert begun is not None, f"{name}: {said[-3000:]}"
        found.append(begun._replace(verdict="finding", text=f"hangs or dies, exit code {code}: {said[-500:]}"))
    return found
