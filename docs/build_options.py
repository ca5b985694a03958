"""What `mkdocs build` makes of conf/: the pages of groups, of plain values, and of the values of options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from twostream.options import Value, conf_folder, read_table
from twostream.options.help import first_comment, read_groups, yaml_text
from twostream.options.table import ROOT

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

OPTIONS = ("option", "what it is")
HEAD = ("value", "what it is, and what it may be")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    from mkdocs.structure.files import File  # a test of the pages does without

    pages = {"options.md": options(), "values-of-options.md": values_of_options(), "values.md": plain_values()}
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))
    return files


def options() -> str:
    """Returns the page of the groups: what each decides, its options, which of them is taken if none is typed."""
    parts = [
        "# Options",
        "What a run does is decided by *groups*, each a question with a few answers, and by *values*. Type them "
        "without dashes: `python train.py fusion=conv temporal=conv3d epochs=20`; `python train.py --help` has them. "
        "This page has the groups and their options. What can be set of each option: [values of "
        "options](values-of-options.md). Values that belong to no group: [plain values](values.md).",
    ]
    for group, (default, comment) in read_groups(conf_folder()).items():
        folder = conf_folder() / group.partition("@")[0]
        rows = [(f"`{group}={file.stem}`", first_comment(file)) for file in sorted(folder.glob("*.yaml"))]
        about = f"{comment[:1].upper()}{comment[1:]}." if comment else ""
        rest = f"Options are those of [`{folder.name}`](#{folder.name})." if "@" in group else table(OPTIONS, rows)
        parts.append(f"## {group}\n\n{about} Without a word of it: `{group}={default}`.\n\n{rest}")
    return "\n\n".join(parts)


def plain_values() -> str:
    """Returns the page of the values that belong to no group."""
    rows = [(typed(value), about(value)) for one in read_table()[ROOT].values() for value in leaves(one)]
    start = "Values that belong to no group, with what they are if nothing is typed. `null` means none."
    return f"---\nhide: [toc]\n---\n\n# Plain values\n\n{start}\n\n{table(HEAD, rows)}"


def values_of_options() -> str:
    """Returns the page of what can be set of each option of each group."""
    parts = [
        "# Values of options",
        "An option may have values of its own: `flow=tvl1 flow.warps=3`. They are shown with what they are if nothing "
        "is typed. A value that several options of a group share stands once.",
    ]
    for group in [group for group in read_groups(conf_folder()) if "@" not in group]:
        files = sorted((conf_folder() / group).glob("*.yaml"))
        of: dict[tuple[str, str], dict[str, Value]] = {}  # (name, comment) -> the value of each option
        for file in files:
            for value in values_of(file, group):
                of.setdefault((value.name, value.comment), {})[file.stem] = value
        rows = [(shared(found), about(*found.values()) + whose(found, len(files))) for _, found in sorted(of.items())]
        parts += [f"## {group}\n\n{table(HEAD, rows)}"] if rows else []
    return "\n\n".join(parts)


def values_of(file: Path, group: str) -> Iterator[Value]:
    """Yields the values of an option, named as they are typed, with the defaults of this option."""
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    content = (content.get(group) or {}) if "# @package _global_" in file.read_text(encoding="utf-8") else content
    held = {group: content} if "_target_" in content else {f"{group}.{key}": part for key, part in content.items()}
    for prefix, part in held.items():
        if isinstance(part, dict):
            yield from named(part, prefix)


def named(own: Mapping[str, Any], prefix: str) -> Iterator[Value]:
    for key, value in read_table().get(str(own.get("_target_")), {}).items():
        if isinstance(value, Value) and key in own:
            yield Value(f"{prefix}.{key}", yaml_text(own[key]), value.comment)
        elif isinstance(own.get(key), dict):
            yield from named(own[key], f"{prefix}.{key}")


def leaves(value: Value | Mapping[str, Any]) -> Iterator[Value]:
    """Yields a value, or those below a key."""
    if isinstance(value, Value):
        yield value
    else:
        for part in value.values():
            yield from leaves(part)


def typed(value: Value) -> str:
    return f"`{value.name}={value.default}`"


def about(value: Value, *_: Value) -> str:
    """Returns what a value is, and in brackets what it may be."""
    what = value.comment.partition(";")[2].strip()
    may_be = value.rule.words.removeprefix("must be ").removeprefix("choose from ")
    return f"{what} ({may_be})".strip()


def shared(found: Mapping[str, Value]) -> str:
    """Returns a value with its default, if all of the options have the same."""
    [name] = {value.name for value in found.values()}
    return typed(next(iter(found.values()))) if len({*found.values()}) == 1 else f"`{name}`"


def whose(found: Mapping[str, Value], options: int) -> str:
    """Names the options that have a value, unless all do alike; with their defaults, where these differ."""
    if len({*found.values()}) > 1:
        return ". Of " + ", ".join(f"`{option}`: `{value.default}`" for option, value in found.items())
    return "" if len(found) == options else ". Of " + ", ".join(f"`{option}`" for option in found)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
