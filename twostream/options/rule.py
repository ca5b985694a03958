"""Rules of what one value may be, as written in conf/: `whole >= 1 | auto`.

A rule is one or more kinds of values, with ` | ` between them:

- a value as it is typed: `auto`, `true`, `null`, `4`, `[]`;
- `whole` and `number`, with their limits if there are any: `whole >= 1`, `number > 0, <= 1`. A number is finite; whole
  numbers are numbers, too. Numbers beyond ±1,000,000,000 are refused on a side where the rule sets no limit;
- `text`: any text but an empty one; a whole number that is not negative counts as text, too;
- `path`: the path of a file or folder; its name may be a whole number, too;
- `list of …`: a list with at least one value of one of these kinds; `list of them`: of the other kinds of this rule;
- `two …`: a list of two values.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import yaml

LARGEST = 1_000_000_000
LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes; what file systems take
COMPARISONS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    ">=": ("at least", lambda value, limit: value >= limit),
    ">": ("above", lambda value, limit: value > limit),
    "<=": ("at most", lambda value, limit: value <= limit),
    "<": ("below", lambda value, limit: value < limit),
}


class Kind(NamedTuple):
    """One kind of values: its name in words; `read` returns the value that was meant, or raises ValueError."""

    words: str
    read: Callable[[Any], Any]


class Rule:
    """What a value may be.

    >>> Rule("whole >= 1 | auto").read(3)
    3
    >>> Rule("whole >= 1 | auto").read(-1)
    Traceback (most recent call last):
    ValueError: must be a whole number of at least 1, or auto
    >>> Rule("path | null").read(2024)
    '2024'

    Raises ValueError if the text is not a rule.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        parts = [part.strip() for part in text.split("|")]
        kinds = [parse_kind(part) for part in parts if part != "list of them"]
        if "list of them" in parts:
            elements = [kind for kind, part in zip(kinds, parts, strict=False) if part not in ("null", "[]")]
            kinds.insert(parts.index("list of them"), Kind("a list of them", list_reader(elements)))
        self.kinds = kinds
        self.words = words_of([kind.words for kind in kinds])
        self.choices = [yaml.safe_load(part) for part in parts if part in [kind.words for kind in kinds]]  # literal

    def read(self, value: Any) -> Any:
        """Returns the value that was meant, such as the text of a path that looks like a number.

        Raises ValueError that says what the value may be.
        """
        for kind in self.kinds:
            try:
                return kind.read(value)
            except ValueError:
                continue
        raise ValueError(self.words)


def did_you_mean(value: str, choices: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Asks whether the user meant one of the choices that are spelt nearly like a value; "" if none is.

    >>> did_you_mean("ucf11", ["folder", "ucf101"]), did_you_mean("x", ["folder", "ucf101"])
    ('did you mean ucf101? ', '')
    """
    close = difflib.get_close_matches(value.lower(), list(choices), 2, cutoff)
    return f"did you mean {' or '.join(close)}? " if close else ""


def words_of(kinds: Sequence[str]) -> str:
    """Says in words what a value may be.

    >>> words_of(["error", "skip"]), words_of(["a path", "null"])
    ('choose from error, skip', 'must be a path, or null')
    """
    *others, last = kinds
    if all(re.fullmatch(r"[\w.+\[\]-]+", kind) for kind in kinds):
        return f"choose from {', '.join(kinds)}"
    return f"must be {', '.join(others)}{', or ' if others else ''}{last}"


def parse_kind(text: str) -> Kind:
    """Reads one kind of a rule. Raises ValueError if the text is none.

    >>> parse_kind("list of number > 0, <= 1").words
    'a list of numbers above 0 and at most 1'
    """
    for start, words, count in (("list of ", "a list of ", None), ("two ", "two ", 2)):
        if text.startswith(start):
            element = parse_kind(text.removeprefix(start))
            plural = re.sub(r"^an? (\w+ )?(number|path|text)\b", r"\1\2s", element.words)
            return Kind(words + plural, list_reader([element], count))
    word, _, limits = text.partition(" ")
    if word in ("whole", "number"):
        return number_kind(word, parse_limits(limits))
    if text in NAMES:
        return NAMES[text]
    value = yaml.safe_load(text)
    if not text or " " in text:
        raise ValueError(f"{text!r}: no kind of values; see twostream/options/rule.py")
    return Kind(text, lambda found: same(value, found))


def parse_limits(text: str) -> list[tuple[str, float]]:
    """Reads the limits of a number: (sign, number) of each. Raises ValueError if the text has others.

    >>> parse_limits(">= 0, < 0.5")
    [('>=', 0), ('<', 0.5)]
    """
    if not text:
        return []
    limits = [limit.split() for limit in text.split(", ")]
    if any(len(limit) != 2 or limit[0] not in COMPARISONS for limit in limits):
        raise ValueError(f"{text!r}: no limits such as >= 0, < 1")
    return [(sign, yaml.safe_load(number)) for sign, number in limits]


def number_kind(word: str, limits: Sequence[tuple[str, float]]) -> Kind:
    bounds = " and ".join(f"{COMPARISONS[sign][0]} {limit:,}" for sign, limit in limits)
    of = " of" if bounds.startswith("at") else ""
    words = f"a {'whole number' if word == 'whole' else 'number'}{of if bounds else ''} {bounds}".strip()
    signs = [sign[0] for sign, _ in limits]
    further = [(sign, limit) for sign, limit in ((">=", -LARGEST), ("<=", LARGEST)) if sign[0] not in signs]

    def read(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int if word == "whole" else int | float):
            raise ValueError
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
        if not all(COMPARISONS[sign][1](value, limit) for sign, limit in (*limits, *further)):
            raise ValueError
        return value

    return Kind(words, read)


def list_reader(elements: Sequence[Kind], count: int | None = None) -> Callable[[Any], list[Any]]:
    def read(value: Any) -> list[Any]:
        if not isinstance(value, list | tuple) or not value or (count and len(value) != count):
            raise ValueError
        return [read_any(elements, element) for element in value]

    return read


def read_any(kinds: Sequence[Kind], value: Any) -> Any:
    for kind in kinds:
        try:
            return kind.read(value)
        except ValueError:
            continue
    raise ValueError


def same(wanted: Any, value: Any) -> Any:
    """Returns the value. Raises ValueError if it is not the wanted one: 1 is not `true`, and `"4"` is not 4."""
    if type(wanted) is not type(value) or wanted != value:
        raise ValueError
    return value


def read_text(value: Any) -> str:
    is_text = isinstance(value, str) and value.strip() != ""
    if not is_text and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError
    return str(value)


def read_path(value: Any) -> str:
    text = read_text(value)
    parts = [len(part.encode("utf-8", "surrogateescape")) for part in text.split("/")]
    if "\0" in text or max(parts) > LONGEST_NAME or sum(parts) + len(parts) > LONGEST_PATH:
        raise ValueError
    return text


NAMES = {"path": Kind("a path", read_path), "text": Kind("a text", read_text)}


def shown(value: Any) -> str:
    """Returns a value as the user would type it, in at most 60 letters.

    >>> shown([None, True, "a", {"b": 0.5}])
    '[null,true,a,{b:0.5}]'
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        text = f"[{','.join(map(shown, value))}]"
    elif isinstance(value, dict):
        text = f"{{{','.join(f'{key}:{shown(part)}' for key, part in value.items())}}}"
    else:
        text = f"{value}" or "''"
    return text if len(text) <= 60 else f"{text[:57]}..."
