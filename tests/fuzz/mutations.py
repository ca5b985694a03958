"""Files made wrong, by a seed: bytes anyhow, JSON and YAML in their values."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

import yaml

WORDS = [
    b"",
    b"\0",
    b"\xff\xfe",
    b"\r\n",
    b",",
    b'"',
    b"${oc.env:HOME}",
    b"../../x",
    b"/etc/passwd",
    b"-rf",
    b"$(touch x)",
]
WORDS += [
    b"<script>",
    b"9" * 400,
    b"-1",
    b"NaN",
    b"1e999",
    b"[" * 3000,
    b"{" * 3000,
    b"\xf0\x9f\x8e\xac",
    b"a" * 70_000,
]
NUMBERS = [2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 60_000, 0]
VALUES: list[Any] = [
    *(None, True, 0, -1, 1, 3, 2**31, 2**63 - 1, 10**40, 1e308, float("nan"), float("inf"), -0.5),
    *("", "\0", "x", "\x1b[2J", "../../x", "/etc/passwd", "os.system", "${oc.env:HOME}", "${a", "9" * 400, "\ud800"),
    *([], {}, [[]], [None], ["x"], [10**12], {"_target_": "os.system"}, {"_args_": [1], "_partial_": False}, {"": {}}),
]


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """One to four changes: bits, bytes, numbers, words, parts cut out, doubled or cut off."""
    content = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        random.choice(CHANGES)(content, random)
    return bytes(content)


def _place(content: bytearray, random: Random) -> int:
    near = random.choice((len(content), len(content), 64, -64))  # headers are at the ends
    place = random.randrange(max(1, min(abs(near), len(content))))
    return len(content) - 1 - place if near < 0 and content else place


def _flip(content: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 1, 8, 64))):
        if content:
            content[_place(content, random)] ^= 1 << random.randrange(8)


def _number(content: bytearray, random: Random) -> None:
    size, place = random.choice((1, 2, 4, 8)), _place(content, random)
    value = random.choice(NUMBERS) & (1 << 8 * size) - 1
    content[place : place + size] = value.to_bytes(size, random.choice(("big", "little")))


def _word(content: bytearray, random: Random) -> None:
    place = _place(content, random)
    content[place : place + random.choice((0, 0, 1, 8))] = random.choice(WORDS)


def _cut(content: bytearray, random: Random) -> None:
    start = _place(content, random)
    del content[start : start + random.choice((1, 7, 100, len(content)))]


def _double(content: bytearray, random: Random) -> None:
    start, stop = sorted((_place(content, random), _place(content, random)))
    content[start:start] = content[start:stop] * random.choice((1, 1, 3))


CHANGES: list[Callable[[bytearray, Random], None]] = [_flip, _flip, _number, _word, _cut, _double]


def mutate_json(data: bytes, random: Random) -> bytes:
    """A value, or a name, replaced by one that is out of place."""
    return json.dumps(mutate_values(json.loads(data), random)).encode("utf-8", "surrogatepass")


def mutate_yaml(data: bytes, random: Random) -> bytes:
    """The same."""
    values = mutate_values(yaml.safe_load(data), random)
    return yaml.safe_dump(values, allow_unicode=False).encode("utf-8", "surrogatepass")


def mutate_values(values: Any, random: Random) -> Any:
    """A copy with one to three changes."""
    holder = {"": copy.deepcopy(values)}
    for _ in range(random.choice((1, 1, 2, 3))):
        parts = list(_parts(holder))
        container, key = random.choice(parts)
        action = random.randrange(6)
        if action == 0 and len(parts) > 1 and key != "":
            del container[key]
        elif action == 1:
            container[key] = [container[key]] * random.choice((0, 1, 2, 1000))
        elif action == 2 and isinstance(container, dict):
            container[random.choice(("", "_target_", "x" * 300, "../x", "\0"))] = random.choice(VALUES)
        else:
            container[key] = copy.deepcopy(random.choice(VALUES))
    return holder.get("")


def _parts(values: Any) -> Any:
    """(holder, key) of every value inside."""
    keys = list(values) if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ()
    for key in keys:
        yield values, key
        yield from _parts(values[key])
