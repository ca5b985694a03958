"""Escapes foreign text for Markdown: it is shown as it is, whatever it contains."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any


def escaped(text: Any) -> str:
    r"""Returns text on one line, with every character that has a meaning in Markdown or HTML escaped.

    >>> print(escaped("<b>a|b</b>\n[x](y) `c` *d* www.e.org"))
    \<b\>a\|b\</b\> \[x\]\(y\) \`c\` \*d\* www\.e\.org
    >>> print(escaped("0.25 http://e.org"))
    0.25 http\://e\.org
    """
    return re.sub(r"([\\`*_{}\[\]<>()#!|~&$@:]|(?<!\d)\.)", r"\\\1", one_line(text))


def one_line(text: Any) -> str:
    """Replaces line breaks and invisible characters by single spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def block(lines: Iterable[str], language: str = "") -> list[str]:
    """Returns the lines of a code block, in a fence that none of them can end.

    >>> block(["a", "```"])
    ['````', 'a', '```', '````']
    """
    lines = ["".join(c if c.isprintable() else " " for c in line) for line in lines]
    longest = max((len(ticks) for line in lines for ticks in re.findall(r"`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence + language, *lines, fence]


def rows(head: Sequence[str], body: Iterable[Sequence[Any]]) -> list[str]:
    """Returns the lines of a table; every cell is escaped."""
    lines = [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in (head, *body)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]
