"""Iterators whose items are made in other threads: the same items, order and errors as without."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from twostream.data.ahead import ahead, in_threads


def test_items_are_made_in_advance_in_order_and_not_too_far():
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    found = ahead(items(), 3)
    assert next(found) == 0
    ends = time.monotonic() + 60
    while len(made) < 3 and time.monotonic() < ends:
        time.sleep(0.01)
    time.sleep(0.1)
    assert 3 <= len(made) <= 6
    assert list(found) == list(range(1, 20))


def test_an_error_comes_after_the_items_before_it():
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    found = ahead(items(), 3)
    assert next(found) == 1
    with pytest.raises(ValueError, match="broken"):
        next(found)


def test_the_thread_ends_if_nobody_takes_more():
    before = threading.active_count()
    found = ahead(iter(range(1000)), 2)
    assert next(found) == 0
    found.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_functions_run_side_by_side_and_keep_the_order():
    meet = threading.Barrier(2, timeout=200)

    def square(number: int) -> int:
        if number < 2:
            meet.wait()  # only two threads at once get past this
        time.sleep(0.01 * (number % 3))
        return number**2

    assert list(in_threads(square, range(12), 2)) == [number**2 for number in range(12)]


def test_only_few_items_wait_and_an_error_ends_it():
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    def fail_at_five(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    found = in_threads(fail_at_five, items(), 2)
    assert [next(found) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(taken) <= 10
    with pytest.raises(ValueError, match="five"):
        next(found)
