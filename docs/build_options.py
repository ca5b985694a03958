"""What `mkdocs build` makes of conf/: the pages of groups, of plain values, and of the values of options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from twostream.options import Value, conf_folder, read_table
from twostream.options.help import first_comment, headings, read_groups, values_of, values_of_option
from twostream.options.table import ROOT

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

OPTIONS = ("option", "what it is")
HEAD = ("value", "what it is [what it may be]")
PLAIN = read_table()[ROOT]


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
        parts.append(f"## {group}\n\n{about} Default: `{group}={default}`.\n\n{rest}")
    return "\n\n".join(parts)


def plain_values() -> str:
    """Returns the page of the values that belong to no group, by the headings of config.yaml."""
    parts = [
        "# Plain values",
        "Values that belong to no group, with what they are if nothing is typed, and in brackets what they may be. "
        "`null` means none.",
    ]
    for heading, keys in headings(conf_folder()).items():
        values = [value for key in keys if key in PLAIN for value in values_of(PLAIN[key])]
        rows = [(typed(value), about(value)) for value in values]
        parts += [f"## {heading}\n\n{table(HEAD, rows)}"] if rows else []
    return "\n\n".join(parts)


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
            for value in values_of_option(file, group, read_table()):
                of.setdefault((value.name, value.comment), {})[file.stem] = value
        rows = [(shared(found), about(*found.values()) + whose(found, len(files))) for _, found in sorted(of.items())]
        parts += [f"## {group}\n\n{table(HEAD, rows)}"] if rows else []
    return "\n\n".join(parts)


def typed(value: Value) -> str:
    return f"`{value.name}={value.default}`"


def about(value: Value, *_: Value) -> str:
    """Returns what a value is, and in brackets what it may be."""
    what = value.comment.partition(";")[2].strip()
    may_be = value.rule.words.removeprefix("must be ").removeprefix("choose from ")
    return f"{what} [{may_be}]"


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
