"""The help of `twostream` and of its commands: one shape, lines that fit, a default for every option."""

from __future__ import annotations

import importlib
import re
import sys
from itertools import chain

import pytest

from twostream.cli import main
from twostream.cli.commands import COMMANDS, EXAMPLES, SECTIONS
from twostream.options.help import WIDTH

OTHERS = [command for command in COMMANDS if command != "train"]


@pytest.fixture(autouse=True)
def in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    function = getattr(importlib.import_module(COMMANDS[command][0]), command)
    with pytest.raises(SystemExit, match=r"^0$"):
        function(["--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_the_help_of_all(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["twostream", *words])
    main()
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= WIDTH
    assert sorted(chain(*SECTIONS.values())) == sorted(COMMANDS), "each command has its place in the day"
    assert all(f"\n{heading.upper()}\n" in text for heading in SECTIONS)
    assert len(EXAMPLES) == 5
    assert all(line.split()[1] in COMMANDS and f"  {line}  " in text for line in EXAMPLES)
    assert text.rpartition("\nMORE\n")[2].count("\n") == 4


@pytest.mark.parametrize("command", OTHERS)
def test_the_help_of_a_command(command: str, capsys) -> None:
    text = help_of(command, capsys)
    assert max(map(len, text.splitlines())) <= WIDTH
    usage, what, _ = text.split("\n\n", 2)
    assert usage.startswith(f"usage: twostream {command}")
    assert usage.endswith(" [options]")
    assert "\n" not in usage
    assert what.endswith(".")
    examples = text.rpartition("examples:\n")[2].splitlines()
    assert 1 <= len(examples) <= 2
    assert all(line.startswith(f"  twostream {command}") for line in examples)


@pytest.mark.parametrize("command", OTHERS)
def test_every_option_that_takes_a_value_says_its_default(command: str, capsys) -> None:
    text = help_of(command, capsys)
    needed = re.findall(r"--[\w-]+", text.partition("\n")[0])
    entries = re.split(r"\n  (?=--)", text.partition("\noptions:\n")[2].partition("\nexamples:")[0])[1:]
    for entry in entries:
        first = re.match(r"(--[\w-]+)( \S)?", entry)
        assert first
        name, takes_one = first.groups()
        assert len(" ".join(entry.split()[2 if takes_one else 1 :])) > 8, f"{name}: say what it is"
        assert name in needed or not takes_one or "default" in entry, entry
