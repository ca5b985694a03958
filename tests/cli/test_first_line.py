"""What a command says before PyTorch is there: the order of imports is looked at, not the time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from twostream.cli.task import LOADING

ROOT = Path(__file__).parents[2]
STOPS = """
import importlib.abc, os, runpy, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch" and sys._getframe(2).f_code.co_name != "find_spec":  # not only asked whether it is there
            print("torch", flush=True)
            os._exit(0)

sys.meta_path.insert(0, Finder())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def printed(*words: str, folder: Path, **environment: str) -> list[str]:
    """The lines of a training until PyTorch would be imported."""
    command = [sys.executable, "-c", STOPS, str(ROOT / "train.py"), *words]
    variables = {**os.environ, **environment}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=200)
    return (done.stdout + done.stderr).splitlines()


@pytest.mark.long
@pytest.mark.parametrize("words", [[], ["-m", "seed=0,1"]])
def test_a_training_says_what_it_does_before_pytorch_is_imported(words: list[str], tmp_path: Path) -> None:
    assert printed(*words, folder=tmp_path) == [LOADING, "torch"]


@pytest.mark.long
def test_of_several_processes_one_says_so(tmp_path: Path) -> None:
    """The one that starts the others, or the first of those that torchrun has started."""
    assert printed(folder=tmp_path, RANK="1") == ["torch"]
    assert printed(folder=tmp_path, RANK="0") == [LOADING, "torch"]
    started = {"RANK": "0", "TWOSTREAM_STARTED_BY": str(os.getpid())}
    assert printed(folder=tmp_path, **started) == ["torch"]


def test_a_line_that_is_wrong_says_only_that(tmp_path: Path) -> None:
    [line] = printed("epochs=-1", folder=tmp_path)
    assert line.startswith("error: epochs=-1: must be")
