from collections.abc import Iterator
from contextlib import closing
from threading import Event, active_count

import pytest
from patience import PATIENCE_S

from darkroom.pipelines.upscale.ahead import ahead


def test_items_come_in_order_and_all_of_them() -> None:
    assert list(ahead(range(1000), 3)) == list(range(1000))


def test_nothing_gives_nothing() -> None:
    assert list(ahead([], 1)) == []


def test_the_thread_stays_within_its_depth() -> None:
    made, third = [], Event()

    def count() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 3:
                third.set()
            yield number

    with closing(ahead(count(), 3)) as items:
        assert next(items) == 0  # one taken: room for a fourth
        assert third.wait(PATIENCE_S)
        assert next(items) == 1
    assert len(made) <= 6


def test_an_error_comes_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("second")

    seen = []
    with pytest.raises(ValueError, match="second"):
        for item in ahead(broken(), 4):
            seen.append(item)
    assert seen == [1]


def test_closing_ends_the_thread_and_closes_its_source() -> None:
    before, closed = active_count(), []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    with closing(ahead(endless(), 2)) as items:
        next(items)
        assert active_count() == before + 1
    assert active_count() == before
    assert closed == [True]


def test_stages_in_a_row_unwind_from_the_last_to_the_first() -> None:
    before = active_count()
    with closing(ahead(iter(range(10**9)), 2)) as first, closing(ahead((n + 1 for n in first), 2)) as second:
        assert [next(second) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert active_count() == before


def test_an_error_of_the_first_stage_reaches_the_end_of_the_row() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with (
        closing(ahead(broken(), 2)) as first,
        closing(ahead((n for n in first), 2)) as second,
        pytest.raises(OSError, match="gone"),
    ):
        list(second)
