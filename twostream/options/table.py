"""Reads conf/ into the table of all values: name, default as written, rule, comment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from twostream.options.rule import Rule, did_you_mean, shown

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NO_VALUES = ("defaults", "hydra", "_target_", "_partial_")  # keys that instruct Hydra
ROOT = ""  # in place of a target: the plain values of config.yaml


class Value(NamedTuple):
    """One value of conf/: its default as written there, and its comment, which begins with the rule."""

    name: str
    default: str
    comment: str

    @property
    def rule(self) -> Rule:
        """What the value may be. Raises ValueError if the comment does not begin with a rule."""
        return parsed(self.comment.partition(";")[0].strip())


class Finding(NamedTuple):
    """The result of checking one value: the value that was meant, or what is wrong with it."""

    name: str
    value: Any
    error: str | None = None


Values = Mapping[str, Any]  # by key: a Value, or the Values that a key without a target holds
parsed = cache(Rule)


def conf_folder() -> Path:
    """Returns the folder conf/: inside an installed package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    return next(path for path in (package / "conf", package.parent / "conf") if path.is_dir())


@cache
def read_table(folder: Path | None = None) -> Mapping[str, Values]:
    """Returns the values of each class or function that conf/ names by `_target_`, and under `ROOT` the plain values.

    Raises ValueError if two files give the same value of a target different rules.
    """
    table: dict[str, dict[str, Any]] = {}
    folder = folder or conf_folder()
    for file in sorted(folder.rglob("*.yaml")):
        lines = file.read_text(encoding="utf-8").splitlines()
        node = yaml.compose("\n".join(lines), Loader=Loader)
        if node is not None:
            is_root = file.parent == folder
            collect(node, lines, table, file=file, holder=table.setdefault(ROOT, {}) if is_root else None)
    return table


def collect(
    node: Any,
    lines: list[str],
    table: dict[str, dict[str, Any]],
    *,
    file: Path,
    holder: dict[str, Any] | None,
    prefix: str = "",
) -> None:
    """Adds the values below a node of a file to `holder`, or to those of the target that the node names."""
    target = next((value.value for key, value in node.value if key.value == "_target_"), None)
    if target is not None:
        holder, prefix = table.setdefault(target, {}), ""
    for key, value in node.value:
        name = key.value
        if name in NO_VALUES or "@" in name:
            continue
        if isinstance(value, yaml.MappingNode):
            is_target = any(part.value == "_target_" for part, _ in value.value)
            inside = None if holder is None or is_target else holder.setdefault(name, {})
            collect(value, lines, table, file=file, holder=inside, prefix=f"{prefix}{name}.")
            if is_target and holder is not None:
                holder.setdefault(name, {})
        elif holder is not None:
            found = Value(f"{prefix}{name}", text_of(value, lines), comment_of(value, lines))
            other = holder.setdefault(name, found)
            if isinstance(other, Value) and other.comment.partition(";")[0] != found.comment.partition(";")[0]:
                raise ValueError(f"{file}: {found.name}: another rule than elsewhere for {target}: {other.comment!r}")


def check_plain(name: str, value: Any) -> None:
    """Raises ValueError if the plain value `name` of config.yaml may not be `value`."""
    for _, _, error in examine({name: value}):
        if error is not None:
            raise ValueError(error)


def text_of(node: Any, lines: list[str]) -> str:
    return lines[node.start_mark.line][node.start_mark.column : node.end_mark.column]


def comment_of(node: Any, lines: list[str]) -> str:
    """Returns the comment behind a value."""
    return lines[node.end_mark.line][node.end_mark.column :].strip().removeprefix("#").strip()


def examine(
    values: Mapping[str, Any],
    options: Values | None = None,
    prefix: str = "",
    *,
    table: Callable[[], Mapping[str, Values]] = read_table,
) -> Iterator[Finding]:
    """Yields the result of checking every value of a composed configuration that the table knows.

    The table does not know the arguments of the user's own classes, nor those that the user adds to a class of ours
    with `+`: the classes check these themselves.
    """
    options = table()[ROOT] if options is None else options
    for key, value in values.items():
        name, known = f"{prefix}{key}", options.get(key)
        if isinstance(value, Mapping) and "_target_" in value:
            yield from examine(value, table().get(str(value["_target_"]), {}), f"{name}.", table=table)
        elif isinstance(value, Mapping) and not isinstance(known, Value):
            yield from examine(value, known or {}, f"{name}.", table=table)
        elif isinstance(known, Mapping):
            inside = f" of its own: {', '.join(f'{name}.{part}' for part in known)}" if known else " of its own"
            yield Finding(name, value, f"{name}={shown(value)}: has values{inside}")
        elif isinstance(known, Value):
            try:
                yield Finding(name, known.rule.read(value))
            except ValueError as error:
                yield Finding(name, value, f"{name}={shown(value)}: {nearest(known.rule, value)}{error}")


def nearest(rule: Rule, value: Any) -> str:
    """Asks whether a choice that is spelt nearly like a wrong value was meant; "" if none is.

    >>> nearest(Rule("imagenet | path | null"), "imagnet"), nearest(Rule("whole"), "one")
    ('did you mean imagenet? ', '')
    """
    choices = [choice for choice in rule.choices if isinstance(choice, str)]
    wrong = [word for word in (value if isinstance(value, list) else [value]) if isinstance(word, str)]
    return next((did_you_mean(word, choices) for word in wrong if word not in choices), "")
