"""Ctrl-C and SIGTERM end every command in one line, that says what to type to go on, or to begin again."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from twostream.cli import main
from twostream.cli.commands import COMMANDS
from twostream.files.signals import Signals, Stopped, ending_when_asked
from twostream.options.command import KEEPING, once_more

ROOT = Path(__file__).parents[2]
KEEPS_NOTHING = {*COMMANDS} - {*KEEPING, "train"}


@pytest.mark.long
@pytest.mark.parametrize("command", [*KEEPING, "evaluate", "predict", "report"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_asked_to_stop(
    command: str, number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def asked(arguments: list[str]) -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(f"{COMMANDS[command][0]}.{command}", asked)
    monkeypatch.setattr(sys, "argv", ["/venv/bin/twostream", command, "a b", "--out", "c"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 128 + number
    how = "go on" if command in KEEPING else "begin again"
    assert capsys.readouterr().err == f"stopped by {number.name}; {how} with: twostream {command} 'a b' --out c\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_training_that_is_stopped_before_it_begins(number: signal.Signals, tmp_path: Path) -> None:
    """While Hydra is imported, and PyTorch is not yet."""
    code = (
        "import os, runpy, sys, threading, time\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == 'hydra': os.kill(os.getpid(), {int(number)}); time.sleep(10)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.argv = ['train.py', 'seed=1']\n"
        f"runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 128 + number
    assert (
        done.stderr
        == f"stopped by {number.name}; begin again with: python {shlex.quote(str(ROOT / 'train.py'))} seed=1\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_within_a_command_is_told_once(number: signal.Signals, monkeypatch, capsys) -> None:
    """`twostream train` is one within `twostream`."""

    def asked(*_: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)

    monkeypatch.setattr("twostream.launch.command.run_command", asked)
    monkeypatch.setattr(sys, "argv", ["/venv/bin/twostream", "train", "seed=1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err == f"stopped by {number.name}; begin again with: twostream train seed=1\n"


def test_a_copy_of_the_process_ends_as_if_nobody_handled_it() -> None:
    """Such as a worker of a loader, which PyTorch ends by SIGTERM: it prints nothing."""
    read, write = os.pipe()
    with ending_when_asked(lambda: "not said"):
        child = os.fork()
        if child == 0:
            os.write(write, b"ready")
            time.sleep(10)
            os._exit(0)
        assert os.read(read, 5) == b"ready"
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_what_is_said_is_true_of_each_command() -> None:
    assert all(once_more(f"twostream {command} x").startswith("go on with: ") for command in KEEPING)
    assert all(once_more(f"twostream {command} x").startswith("begin again with: ") for command in KEEPS_NOTHING)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("handlers", ["Signals()", "ending_when_asked(lambda: 'begin again')"])
def test_a_signal_during_a_fork_is_not_lost(handlers: str, number: signal.Signals) -> None:
    """Python ignores an exception in a hook of a fork, such as `logging`'s, which would keep its lock."""
    code = (
        "import logging, os, sys, time\n"
        f"os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), {int(number)}))\n"
        "from twostream.files.signals import *\n"
        f"with {handlers}:\n"
        "    if not os.fork(): os._exit(0)\n"
        "    print('forked', flush=True)\n"
        "    time.sleep(10)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.stdout == "forked\n"
    assert f"stopped by {number.name}" in done.stderr
    assert "ignored" not in done.stderr
    assert done.returncode == (1 if "Signals" in handlers else 128 + number)


def test_what_lightning_makes_of_a_signal_is_told_as_the_signal() -> None:
    """It turns Ctrl-C into exit code 1, and fails anew when it clears away what a signal has cut off."""

    def ends(first: BaseException, second: BaseException) -> None:
        try:
            raise first
        except BaseException:
            raise second  # noqa: B904  as Lightning does

    with pytest.raises(SystemExit) as ended, ending_when_asked(lambda: "begin again"):
        ends(KeyboardInterrupt(), SystemExit(1))
    assert ended.value.code == 128 + signal.SIGINT
    with pytest.raises(Stopped), Signals():
        ends(Stopped(signal.SIGINT), RuntimeError("iter first"))
