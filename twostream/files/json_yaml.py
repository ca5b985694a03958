"""JSON and YAML out of files that anybody may have written: what is expected, or a ValueError that names the file."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

LARGEST = 1 << 63  # numbers below this fit into every number that we compute with, and so do their squares
LARGEST_YAML, DEEPEST_YAML = 1 << 17, 50  # bytes, and open brackets, of a configuration; ours have 4,000 and 2


def read_json(path: Path, shape: Any, *, what: str) -> Any:
    """The content of a file, which has to be of a shape (see `has_shape`): it is `what` otherwise is not there.

    Raises FileNotFoundError, and ValueError for whatever else is wrong with it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged, {what} ({error})") from None
    if not has_shape(content, shape):
        raise ValueError(f"{path}: damaged, {what}")
    return content


def read_yaml(path: Path) -> Any:
    """The plain values in a file. Raises ValueError."""
    text = read_yaml_text(path)
    try:
        return yaml.load(text, yaml.SafeLoader)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read ({type(error).__name__})") from None


def read_yaml_text(path: Path) -> str:
    """A small file without aliases: of a few of them, one can make values without end. Raises ValueError."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_YAML + 1).decode("utf-8")
        depth = accumulate((letter in "[{") - (letter in "]}") for letter in text if letter in "[]{}")
        if max(depth, default=0) > DEEPEST_YAML:  # the time that YAML takes is their square
            raise ValueError("too deep")
        aliases = "*" in text and any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text, yaml.SafeLoader))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read ({type(error).__name__})") from None
    if len(text) > LARGEST_YAML or aliases:
        raise ValueError(f"{path}: cannot be read ({'an alias' if aliases else f'more than {LARGEST_YAML:,} bytes'})")
    return text


def has_shape(value: Any, shape: Any) -> bool:
    """Whether a value is of a shape: a type, a tuple of choices, [of elements], {name: of its value}, {str: of values}.

    Of named values those that are absent are not looked for, unless the name is written as "!name".

    >>> has_shape({"axes": {"seed": ["0"]}, "more": 1}, {"!axes": {str: [str]}})
    True
    >>> has_shape({"axes": {"seed": [0]}}, {"!axes": {str: [str]}}), has_shape({}, {"!axes": {}})
    (False, False)
    >>> has_shape(3, float), has_shape(True, (int, None)), has_shape(None, (int, None))
    (True, False, True)
    >>> has_shape(0.5, float), has_shape(1e300, float), has_shape(float("nan"), float)
    (True, False, False)
    """
    if isinstance(shape, tuple):
        return any(has_shape(value, choice) for choice in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(element, shape[0]) for element in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and _has_parts(value, shape)
    if shape is None or shape is Any:
        return shape is Any or value is None
    if isinstance(value, int):
        return shape is bool if isinstance(value, bool) else shape in (int, float) and abs(value) < LARGEST
    if isinstance(value, float):
        return shape is float and abs(value) < LARGEST  # nor is NaN
    return isinstance(value, shape)


def _has_parts(value: dict[str, Any], shape: dict[Any, Any]) -> bool:
    if str in shape:
        return all(has_shape(part, shape[str]) for part in value.values())
    names = {name.removeprefix("!"): part for name, part in shape.items()}
    missing = [name for name in shape if name.startswith("!") and name[1:] not in value]
    return not missing and all(has_shape(value[name], part) for name, part in names.items() if name in value)
