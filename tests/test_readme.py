"""The commands of README.md and docs/: they compose, and name files and options that exist."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from twostream.cli.commands import COMMANDS as SUBCOMMANDS
from twostream.config.compose import compose_config
from twostream.config.network import describe_config
from twostream.files.errors import checked

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = list(
    dict.fromkeys(
        line.split("&&")[-1].partition("  #")[0].strip()
        for page in PAGES
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), flags=re.S)
        for line in block.splitlines()
    )
)


def test_there_are_commands() -> None:
    assert len([command for command in COMMANDS if command.startswith("python train.py")]) > 10


@pytest.mark.long
@pytest.mark.parametrize("command", [c for c in COMMANDS if re.match(r"python train.py|twostream info", c)])
def test_a_command_composes_and_its_network_can_be_built(command: str) -> None:
    overrides = [word for word in shlex.split(command, comments=True)[2:] if not word.startswith(("-", "hydra"))]
    with checked():
        assert describe_config(compose_config([of_first_cell(word) for word in overrides]), 101).parameters > 0


def of_first_cell(word: str) -> str:
    """An override as the first cell of a sweep has it."""
    override = OverridesParser.create().parse_override(word)
    if not override.is_sweep_override():
        return word
    swept: Any = override.value()
    value = swept.start if override.is_interval_sweep() else next(override.sweep_string_iterator())
    return f"{override.get_key_element()}={value}"


def settings_in_tables(page: Path) -> Iterator[str]:
    """`key=value …` in tables; what other programs call theirs stands in the first column."""
    for line in page.read_text().splitlines():
        ours = line.split("|", 2)[-1] if page.name == "coming-from.md" else line
        for text in re.findall(r"`([^`]+)`", ours) if line.startswith("|") else ():
            if all(re.fullmatch(r"[\w./@]+=[^\s=]+", word) for word in text.split()):
                yield text


SETTINGS = list(dict.fromkeys(text for page in PAGES[1:] for text in settings_in_tables(page)))


@pytest.mark.long
def test_settings_in_tables_compose() -> None:
    """As few at a time as take each group once: composing takes a while."""
    together: list[dict[str, str]] = []
    for text in [text for text in SETTINGS if not text.startswith("hydra/")]:
        groups = dict.fromkeys((re.split(r"[.@=]", word)[0] for word in text.split()), text)
        free = next((one for one in together if not one.keys() & groups.keys()), None)
        together.append(groups) if free is None else free.update(groups)
    assert sum(len(one) for one in together) > 40
    for texts in together:
        words = [word for text in dict.fromkeys(texts.values()) for word in text.split()]
        compose_config([*(["data=folder"] if "data.frames=packed" in words else []), *words])  # not of rendered videos


@pytest.mark.parametrize("text", [text for text in SETTINGS if text.startswith("hydra/")])
def test_launchers_in_tables_compose(text: str) -> None:
    try:
        compose_config(text.split())
    except ValueError as error:
        if "no such plug-in of Hydra is installed; pip install" not in str(error):
            raise
        pytest.skip("its plugin is not installed")


class UnderstoodError(Exception):
    """A command has read its arguments."""


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("twostream ")])
def test_a_command_understands_its_arguments(command: str, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("VIDEO").touch()  # `doctor` looks for it at once
    for name in ("parse_args", "parse_intermixed_args"):
        parse = getattr(argparse.ArgumentParser, name)

        def parse_and_stop(parser, arguments, *, parse=parse):
            parse(parser, arguments)
            raise UnderstoodError

        monkeypatch.setattr(argparse.ArgumentParser, name, parse_and_stop)
    name, *arguments = shlex.split(command, comments=True)[1:]
    with pytest.raises(UnderstoodError):
        getattr(importlib.import_module(SUBCOMMANDS[name][0]), name)(arguments)


def test_the_readme_lists_its_sections_and_leads_to_three_hosts() -> None:
    readme = (ROOT / "README.md").read_text()
    contents = " ".join(readme.partition("**Contents**")[2].partition("\n\n")[0].split())
    titles = re.findall(r"^## (.+)$", readme, flags=re.M)
    assert re.findall(r"\[([^]]+)\]\(#", contents) == [title for title in titles if title != "Licence"]
    assert {*re.findall(r"https?://([^/)\s]+)", readme)} == {"arxiv.org", "download.pytorch.org", "github.com"}


def test_the_first_picture_is_of_a_result_and_on_the_first_screen() -> None:
    before = (ROOT / "README.md").read_text().partition("![")
    assert before[2].partition("(")[2].startswith("docs/moving.webp)")
    assert len(before[0].split()) < 120
