"""Makes the help of the command that trains from conf/ alone, and loads neither PyTorch nor Hydra for it."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from twostream.files.errors import print_any_name
from twostream.options.command import train_command
from twostream.options.table import ROOT, Value, Values, comment_of, conf_folder, read_table

WHAT = (
    "Trains and tests a network that sees videos twice: single frames show what is there, optical flow shows how it "
    "moves. Without options it does so in minutes on a CPU, with a small data set that it draws itself."
)
EXAMPLES = {
    "": "the small data set",
    "data=folder data.root=DIR": "your videos, in one folder for each class",
    "fusion=sum layer=conv5": "how the streams are fused, and where",
    "-m fusion=sum,max,conv seed=0,1,2": "a sweep: nine runs, and a table of them",
    "resume=RUN_DIR": "go on with an interrupted run",
}
TYPED = {  # what can be typed
    "GROUP=OPTION": "choose an option of a group; without dashes, without spaces",
    "NAME=VALUE": "set a value: epochs=20; quote brackets: 'layer=[conv3,conv5]'",
    "-m NAME=A,B …": "a sweep: a run with each value; the same command goes on with it",
    "resume=RUN_DIR": "go on with an interrupted run, with the options that it had",
    "backbone@flow_backbone=OPTION": "another backbone for the second stream",
    "NAME … --help": "the help of these alone, such as: fusion=gated epochs --help",
    "… --cfg job": "print the configuration, and do nothing else",
}
VALUES = (
    "Behind a value stands what it is, and in […] what it may be: whole and number are numbers, within limits; text "
    "and path are typed as they are; a list is typed in brackets; null is none."
)
SECTIONS = {  # of groups, those first that are needed first
    "videos": ("data", "sampling", "transform", "flow"),
    "network": ("backbone", "backbone@flow_backbone", "fusion", "align", "temporal", "pooling", "attention"),
    "training": ("optimizer", "schedule", "trainer", "speed", "logger"),
    "published networks": ("experiment",),
}
MORE = {
    "NAME … --help": "less: the help of these groups and values alone",
    "twostream --help": "what can be done besides training: predict, evaluate, report, …",
    "twostream info …": "the layers, shapes and costs of the network that these options make",
    "README.md, docs/": "in the repository: how to do what, and what was measured",
}
WIDTH, COLUMN = 100, 30  # of a line; where the text begins
NARROW = 24  # columns that text needs beside names


def print_help(words: Sequence[str]) -> None:
    """Prints the help of training; see `help_text`."""
    print_lines(help_text(words).splitlines())


def print_lines(lines: Sequence[str]) -> None:
    """Prints help on any terminal, and into a pipe that its reader may close early."""
    print_any_name()
    with suppress(BrokenPipeError):
        print("\n".join(lines), flush=True)


def help_text(words: Sequence[str] = (), folder: Path | None = None) -> str:
    """Returns the help: groups with their options, plain values, and the values of the options in use.

    `words` of the command line choose options; if any is the name of a group or value, the help is of these alone.
    """
    folder = folder or conf_folder()
    groups, table = read_groups(folder), read_table(folder)
    plain = [value for key in table[ROOT] for value in values_of(table[ROOT][key])]
    typed = {key: value for key, _, value in (word.partition("=") for word in words)}
    names = [*groups, *(value.name for value in plain)]
    asked = [name for name in names if any(belongs(name, key) for key in typed)]
    parts = [] if asked else list(head())
    shown = asked or names
    for heading, members in SECTIONS.items():
        lines = [line for group in members if group in shown for line in options_of(group, groups[group], folder)]
        parts += [f"GROUPS: {heading}\n", *lines] if lines else []
    parts += [] if asked else [f"VALUES\n\n{wrapped(VALUES)}\n"]
    for heading, keys in headings(folder).items():
        own = [value for value in plain if value.name in shown and value.name.partition(".")[0] in keys]
        lines = [value_entry(value) for value in own]
        parts += [f"VALUES: {heading[0].lower()}{heading[1:]}\n", *lines, ""] if lines else []
    for group in [group for members in SECTIONS.values() for group in members if group in shown]:
        option = (typed.get(group) or groups[group][0]).strip("[]").split(",")[0]
        file = folder / group.partition("@")[0] / f"{option}.yaml"
        own = values_of_option(file, group.rpartition("@")[2], table) if file.is_file() else []
        lines = [value_entry(value) for value in own]
        parts += [f"VALUES of {group}={option}\n", *lines, ""] if lines else []
    more = {f"{train_command()} --help": "all of the help"} if asked else MORE
    return "\n".join([*parts, "MORE\n", *entries(more), ""])


def head() -> Iterator[str]:
    """Yields what stands above the options."""
    yield f"{wrapped(WHAT)}\n\nEXAMPLES\n"
    start = train_command()
    examples = {f"{start} {words}".strip(): what for words, what in EXAMPLES.items()}
    yield from (*entries(examples, max(map(len, examples)) + 5), "", "HOW IT IS TYPED\n", *entries(TYPED, 34), "")


def options_of(group: str, about: tuple[str, str], folder: Path) -> Iterator[str]:
    """Yields the lines of a group, `about` which (default, comment) is known: itself, and its options."""
    default, comment = about
    yield entry(f"{group}={default}", comment)
    if "@" not in group:
        for file in sorted((folder / group).glob("*.yaml")):
            yield entry(f"  {file.stem}", first_comment(file))
    yield ""


def belongs(name: str, key: str) -> bool:
    """Whether `key`, as it is typed, asks for the group or value `name`: for it, for a part, or for what it is part of.

    >>> belongs("flow", "flow.bound"), belongs("loss.focal", "loss"), belongs("flow_std", "flow")
    (True, True, False)
    """
    return name == key or name.startswith(f"{key}.") or key.startswith(f"{name}.")


def entries(rows: Mapping[str, str], column: int = COLUMN) -> list[str]:
    return [entry(name, text, column) for name, text in rows.items()]


def entry(name: str, text: str, column: int = COLUMN) -> str:
    """Returns a line for a name, with its text wrapped in a column of its own.

    The text stands below a name that is too long for that, and below all names where the terminal is too narrow.

    >>> print(entry("epochs=6", "whole", 12), entry("batch_size=32", "whole", 12), sep="\\n")
      epochs=6  whole
      batch_size=32
                whole
    """
    column = column if columns() >= column + NARROW else 6
    indent = " " * column
    lines = wrapped(text, indent).removeprefix(indent)
    start = f"  {name}".ljust(column)
    return f"{start}{lines}".rstrip() if start.endswith(" ") else f"{start}\n{indent}{lines}".rstrip()


def value_entry(value: Value) -> str:
    """Returns the line of a value: its name and default, what it is, and in brackets what it may be."""
    rule, _, what = value.comment.partition(";")
    return entry(f"{value.name}={value.default}", f"{what.strip()} [{rule.strip()}]")


def wrapped(text: str, indent: str = "") -> str:
    """Returns text in lines that fit the terminal."""
    return textwrap.fill(
        text,
        max(columns(), len(indent) + 20),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def read_groups(folder: Path) -> dict[str, tuple[str, str]]:
    """Returns {group: (its default option, what the group is about)} in the order of config.yaml."""
    lines = (folder / "config.yaml").read_text(encoding="utf-8").splitlines()
    node: Any = yaml.compose("\n".join(lines), Loader=yaml.SafeLoader)
    defaults = next(value for key, value in node.value if key.value == "defaults").value
    pairs = [pair for entry in defaults if isinstance(entry, yaml.MappingNode) for pair in entry.value]
    groups = {}
    for key, value in pairs:
        if not key.value.startswith("override "):
            default = lines[value.start_mark.line][value.start_mark.column : value.end_mark.column]
            groups[key.value] = (default, comment_of(value, lines))
    return groups


def columns() -> int:
    """Returns how wide lines may be: as the terminal, and 100 columns at most."""
    return min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns)


def first_comment(file: Path) -> str:
    """Returns the first comment for readers in the file of an option, which says what it is; "" if there is none."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return ""
        if not line.startswith("# @package"):
            return line.removeprefix("#").strip()
    return ""


def headings(folder: Path) -> dict[str, list[str]]:
    """Returns {heading: the keys below it} of the plain values of config.yaml, whose headings are its comments."""
    found: dict[str, list[str]] = {}
    keys: list[str] = []
    for line in (folder / "config.yaml").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            keys = found.setdefault(line[2:], [])
        elif key := re.match(r"\w+", line):
            keys.append(key[0])
    return found


def values_of(value: Value | Values) -> Iterator[Value]:
    """Yields a value, or those below a key."""
    if isinstance(value, Value):
        yield value
    else:
        for part in value.values():
            yield from values_of(part)


def values_of_option(file: Path, package: str, table: Mapping[str, Values]) -> Iterator[Value]:
    """Yields the values of an option, under the names by which the user sets them, with the defaults of this option."""
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    if re.match(r"# @package _global_", file.read_text(encoding="utf-8")):
        content = content.get(package) or {}
    held = {package: content} if "_target_" in content else {f"{package}.{key}": part for key, part in content.items()}
    for name, part in held.items():
        if isinstance(part, dict):
            yield from values_given(part, f"{name}.", table)


def values_given(own: Mapping[str, Any], prefix: str, table: Mapping[str, Values]) -> Iterator[Value]:
    """Yields each value that an option gives to its target."""
    for key, value in table.get(str(own.get("_target_")), {}).items():
        if key not in own:
            continue
        if isinstance(value, Value):
            yield Value(f"{prefix}{key}", yaml_text(own[key]), value.comment)
        elif isinstance(own[key], dict):
            yield from values_given(own[key], f"{prefix}{key}.", table)


def yaml_text(value: Any) -> str:
    """Returns a value in one line of YAML.

    >>> yaml_text(None), yaml_text([1, 10]), yaml_text("fast")
    ('null', '[1, 10]', 'fast')
    """
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
