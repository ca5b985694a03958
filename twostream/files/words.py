"""Numbers in words, as every command prints them."""

from __future__ import annotations


def counted(number: int, what: str, many: str = "") -> str:
    """Returns a number and its noun, in the singular or plural; `many`: the plural, if it is not `what` with an s.

    >>> counted(1, "frame"), counted(2000, "test video"), counted(0, "class", "classes")
    ('1 frame', '2,000 test videos', '0 classes')
    """
    return f"{number:,} {what if number == 1 else many or f'{what}s'}"


def duration(seconds: float) -> str:
    """Returns a number of seconds in words.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def clock(seconds: float) -> str:
    """Returns a number of seconds as hours, minutes and seconds.

    >>> clock(83.4), clock(36_000)
    ('0:01:23', '10:00:00')
    """
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"
