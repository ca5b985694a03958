"""Makes the help of the command that trains from conf/ alone, and loads neither PyTorch nor Hydra for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from twostream.files.errors import print_any_name
from twostream.options.command import train_command
from twostream.options.table import NO_VALUES, ROOT, Value, Values, comment_of, conf_folder, read_table

HEAD = """\
Train and test one network, or with -m a sweep of them:

{examples}

Behind a value stands what it may be: whole and number are kinds of numbers, null is none.
"""
EXAMPLES = {
    "fusion=conv layer=conv5": "one run",
    "-m fusion=sum,max,conv seed=0,1,2": "nine, and a table of their results",
    "resume=RUN_DIR": "go on with an interrupted run",
    "fusion=pyramid flow=tvl1 --help": "the values of these options",
    "… --cfg job": "the configuration of a run, as YAML",
}


def print_help(words: Sequence[str]) -> None:
    """Prints the help on any terminal, and into a pipe that its reader may close early."""
    print_any_name()
    with suppress(BrokenPipeError):
        print(help_text(words), end="", flush=True)


def help_text(words: Sequence[str] = (), folder: Path | None = None) -> str:
    """Returns the help: groups with their choices, plain values, values of the options in use or named by `words`."""
    folder = folder or conf_folder()
    groups, chosen = read_groups(folder), {key: value for key, _, value in (word.partition("=") for word in words)}
    table = read_table(folder)
    examples = "\n".join(f"  {train_command()} {words:<33}   {what}" for words, what in EXAMPLES.items())
    parts = [HEAD.format(examples=examples), "Groups: GROUP=OPTION\n"]
    for group, (default, comment) in groups.items():
        files = sorted((folder / group.partition("@")[0]).glob("*.yaml"))
        parts.append(f"{group}={default}" + (f"  {comment}" if comment else ""))
        if "@" not in group:
            parts += [f"  {file.stem:<22} {first_comment(file)}".rstrip() for file in files]
        parts.append("")
    parts += ["Plain values: NAME=VALUE\n", *rows(table[ROOT])]
    for group, (default, _) in groups.items():
        option = chosen.get(group, default).strip("[]").split(",")[0]
        file = folder / group.partition("@")[0] / f"{option}.yaml"
        if file.is_file() and (found := list(rows_of_option(file, group.rpartition("@")[2], table))):
            parts += [f"\nOf {group}={option}\n", *found]
    return "\n".join(parts) + "\n"


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


def first_comment(file: Path) -> str:
    """Returns the first comment for readers in the file of an option, which says what it is; "" if there is none."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return ""
        if not line.startswith("# @package"):
            return line.removeprefix("#").strip()
    return ""


def rows_of_option(file: Path, package: str, table: Mapping[str, Values]) -> Iterator[str]:
    """Yields a row for each value of an option, under the name by which the user sets it."""
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    if re.match(r"# @package _global_", file.read_text(encoding="utf-8")):
        content = content.get(package) or {}
    held = {package: content} if "_target_" in content else {f"{package}.{key}": part for key, part in content.items()}
    for name, part in held.items():
        if isinstance(part, dict):
            yield from rows(table.get(str(part.get("_target_")), {}), f"{name}.", part, table)


def rows(
    values: Values, prefix: str = "", own: Mapping[str, Any] | None = None, table: Mapping[str, Values] | None = None
) -> Iterator[str]:
    """Yields `name: default  comment` for each value; with `own`, only for the values in it, with their defaults."""
    for key, value in values.items():
        if own is not None and (key not in own or key in NO_VALUES):
            continue
        if isinstance(value, Value):
            default = value.default if own is None else yaml_text(own[key])
            yield f"  {prefix}{key}: {default}".ljust(34) + f"  {value.comment}".rstrip()
        elif own is None:
            yield from rows(value, f"{prefix}{key}.")
        elif table is not None and isinstance(own[key], dict):
            yield from rows(table.get(str(own[key].get("_target_")), {}), f"{prefix}{key}.", own[key], table)


def yaml_text(value: Any) -> str:
    """Returns a value in one line of YAML.

    >>> yaml_text(None), yaml_text([1, 10]), yaml_text("fast")
    ('null', '[1, 10]', 'fast')
    """
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
