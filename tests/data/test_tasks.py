"""Tasks in other processes: each item has one outcome, whatever happens to the process."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from twostream.data.tasks import Outcome, run_tasks


def double(item: int) -> int:
    if item == 3:
        raise ValueError("three\nis not wanted")
    if item == 5:
        os.kill(os.getpid(), signal.SIGSEGV)
    return 2 * item


def note(path: str) -> str:
    """Leaves a line for each time that it is called; dies the first time if the name says so."""
    with Path(path).open("a") as file:
        file.write("called\n")
    if Path(path).name.startswith("die") and Path(path).read_text().count("called") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return Path(path).name


def half_written(path: str) -> None:
    try:
        Path(path).touch()
        time.sleep(600)
    finally:
        Path(path).unlink(missing_ok=True)


def unsendable(_item: int) -> object:
    return lambda: None


def process_of(_item: int) -> int:
    return os.getpid()


def test_errors_and_dead_processes_cost_their_own_item_alone() -> None:
    outcomes = sorted(run_tasks(double, range(20), workers=2))
    assert [outcome.item for outcome in outcomes] == list(range(20))
    assert outcomes[3] == Outcome(3, None, "ValueError: three is not wanted")
    assert outcomes[5] == Outcome(5, None, "its process died, twice (SIGSEGV)")
    assert all(outcome == Outcome(outcome.item, 2 * outcome.item) for outcome in outcomes if outcome.item not in (3, 5))


def test_what_died_once_is_tried_again_and_nothing_else_is(tmp_path: Path) -> None:
    names = ["a", "die1", "b", "die2", "c", "d"]
    outcomes = list(run_tasks(note, [str(tmp_path / name) for name in names], workers=2))
    assert sorted(outcome.value for outcome in outcomes) == sorted(names)
    assert {name: (tmp_path / name).read_text().count("called") for name in names} == {
        name: 2 if name.startswith("die") else 1 for name in names
    }


def test_processes_are_kept_for_the_next_items() -> None:
    assert len({outcome.value for outcome in run_tasks(process_of, range(50), workers=2)}) <= 2


def test_a_value_that_cannot_be_sent_is_an_error_of_its_item() -> None:
    [outcome] = run_tasks(unsendable, [1], workers=1)
    assert "pickle" in (outcome.error or "")


def test_who_stops_asking_ends_the_processes_and_they_clean_up(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(3)]
    outcomes = run_tasks(half_written_or_note, [str(tmp_path / "quick"), *map(str, paths)], workers=2)
    assert next(outcomes).value == "quick"
    until(lambda: any(path.exists() for path in paths))
    outcomes.close()  # type: ignore[attr-defined]
    assert not any(path.exists() for path in paths)


def half_written_or_note(path: str) -> object:
    return note(path) if path.endswith("quick") else half_written(path)


def until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_or_the_death_of_the_parent_ends_the_workers(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from twostream.data.tasks import run_tasks\n"
        "def work(item):\n"
        "    Path(sys.argv[1] if len(sys.argv) > 1 else '.', f'{os.getpid()}.pid').touch()\n"
        "    time.sleep(0.2)\n"
        "if __name__ == '__main__':\n"
        "    list(run_tasks(work, range(10_000), workers=2))\n"
    )
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], stderr=subprocess.PIPE, cwd=Path.cwd(),
                              env=os.environ | {"PYTHONPATH": str(Path.cwd())})  # fmt: skip
    until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    parent.send_signal(number)
    parent.communicate(timeout=200)
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    until(lambda: not any(alive(worker) for worker in workers), seconds=60)


def alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().split(")")[1].split()[0]
    except FileNotFoundError:
        return False


def test_wrong_engine_and_number_of_workers() -> None:
    with pytest.raises(ValueError, match="engine='spark': choose from local, ray"):
        list(run_tasks(double, [], workers=1, engine="spark"))
    with pytest.raises(ValueError, match="workers=0"):
        list(run_tasks(double, [], workers=0))


def test_without_ray_the_error_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"--engine ray needs Ray .*: pip install -e .*\[ray\]"):
        list(run_tasks(double, [1], workers=1, engine="ray"))


@pytest.fixture
def two_nodes(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> Iterator[tuple[str, subprocess.Popen]]:
    """A Ray cluster of two nodes on this machine: its address, and the process that holds the second node."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else newer versions want a token from the user's home
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=2", "--disable-usage-stats", "--block"]
    folder = Path("/tmp", f"ray-{os.getpid()}")  # sockets need short paths
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    nodes = []
    log = (tmp_path_factory.mktemp("ray") / "nodes.log").open("w")
    for options in (
        ["--head", f"--port={address.split(':')[1]}", "--include-dashboard=false", f"--temp-dir={folder}"],
        [f"--address={address}"],
    ):
        nodes.append(subprocess.Popen(start + options, env=environment, start_new_session=True, stdout=log, stderr=log))
        until(lambda: "ray::" in commands(nodes[-1]) or nodes[-1].poll() is not None, seconds=60)
        assert nodes[-1].poll() is None, Path(log.name).read_text()
    try:
        yield address, nodes[1]
    finally:
        for node in reversed(nodes):
            kill(node)
        shutil.rmtree(folder, ignore_errors=True)


def commands(node: subprocess.Popen) -> str:
    found = subprocess.run(["ps", "-o", "args=", "-s", str(node.pid)], capture_output=True, text=True, check=False)
    return found.stdout


def kill(node: subprocess.Popen) -> None:
    """All processes of a node at once, workers in the middle of a task included."""
    psutil = pytest.importorskip("psutil")
    if node.poll() is None:
        for process in [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    node.wait()


def on_node(path: str) -> str:
    """A task that leaves a whole file, whichever node does it and however often; which node that was."""
    import ray

    with Path(path).with_name("calls").open("a") as calls:
        calls.write("called\n")
    time.sleep(0.6)
    aside = Path(f"{path}.{uuid.uuid4().hex}.tmp")
    aside.write_text(Path(path).name * 100)
    aside.replace(path)
    return ray.get_runtime_context().get_node_id()


@pytest.mark.slow
def test_a_ray_node_that_stops_midway_loses_nothing(tmp_path: Path, two_nodes: tuple[str, subprocess.Popen]) -> None:
    address, second = two_nodes
    paths = [str(tmp_path / f"{number:03}") for number in range(100)]
    outcomes, before = [], 0
    for outcome in run_tasks(on_node, paths, workers=1, engine="ray", address=address):
        outcomes.append(outcome)
        if len(outcomes) > 30 and not before and len({done.value for done in outcomes}) == 2:
            before = len(outcomes)
            kill(second)
    assert before, "both nodes have done some"
    assert sorted(outcome.item for outcome in outcomes) == paths, "nothing lost, nothing twice"
    assert [outcome.error for outcome in outcomes] == [None] * 100
    assert {Path(path).read_text() for path in paths} == {Path(path).name * 100 for path in paths}
    share, late = (Counter(done.value[:8] for done in some) for some in (outcomes, outcomes[-40:]))
    calls = (tmp_path / "calls").read_text().count("called")
    print(f"stopped after {before}; done by {dict(share)}; the last 40 by {dict(late)}; {calls} calls for 100 outcomes")
    assert len(share) == 2
    assert len(late) == 1, "by the node that is left"
    assert calls > 100, "what the stopped node had in hand was done again"
