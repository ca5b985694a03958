"""Reads JSON and YAML files that anybody may have written; a ValueError names the file if its content is wrong."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

LARGEST = 1 << 63  # numbers below this fit into every number that we compute with, and so do their squares
LARGEST_YAML, DEEPEST_YAML = 1 << 17, 50  # most bytes and open brackets of a configuration; ours have 4,000 and 2


def read_json(path: Path, shape: Any, *, what: str) -> Any:
    """Returns the content of a JSON file, which must have a shape (see `has_shape`).

    Raises FileNotFoundError if there is no file, and ValueError if anything else is wrong with it; the message says
    `what` the file then is, such as "no results of a run".
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
    """Returns the plain values in a YAML file. Raises ValueError if it cannot be read."""
    text = read_yaml_text(path)
    try:
        return yaml.load(text, yaml.SafeLoader)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read ({type(error).__name__})") from None


def read_yaml_text(path: Path) -> str:
    """Returns the text of a YAML file. Raises ValueError if it is large, deeply nested or has aliases.

    Nested aliases would let a few bytes expand into values without end.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_YAML + 1).decode("utf-8")
        depth = accumulate((letter in "[{") - (letter in "]}") for letter in text if letter in "[]{}")
        if max(depth, default=0) > DEEPEST_YAML:  # the time to parse grows with the square of the depth
            raise ValueError("too deep")
        aliases = "*" in text and any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text, yaml.SafeLoader))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read ({type(error).__name__})") from None
    if len(text) > LARGEST_YAML or aliases:
        raise ValueError(f"{path}: cannot be read ({'an alias' if aliases else f'more than {LARGEST_YAML:,} bytes'})")
    return text


def has_shape(value: Any, shape: Any) -> bool:
    """Whether a value has a shape, which may be nested.

    A shape is a type, a tuple of choices, [shape of each element], {name: shape of its value} or {str: shape of each
    value}. A name may be absent unless it is written as "!name". Numbers have to be finite and below 2**63.

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
        return shape is float and abs(value) < LARGEST  # False for NaN, too
    return isinstance(value, shape)


def _has_parts(value: dict[str, Any], shape: dict[Any, Any]) -> bool:
    if str in shape:
        return all(has_shape(part, shape[str]) for part in value.values())
    names = {name.removeprefix("!"): part for name, part in shape.items()}
    missing = [name for name in shape if name.startswith("!") and name[1:] not in value]
    return not missing and all(has_shape(value[name], part) for name, part in names.items() if name in value)
