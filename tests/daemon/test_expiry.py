from pathlib import Path

from hypothesis import given
from hypothesis import strategies as some

from darkroom.daemon.config import Limit
from darkroom.daemon.expiry import Choice, Entry, choose_expired

DAY = 86_400.0
MONTH = Limit(age=30 * DAY)


def entries(*ages_days: float, size: int = 10) -> list[Entry]:
    return [
        Entry(root=Path("/r"), path=Path(f"/r/{index}"), size_bytes=size, since=-age * DAY)
        for index, age in enumerate(ages_days)
    ]


def names(choice: Choice) -> list[str]:
    return [removal.path.name for removal in choice.removals]


def test_what_was_too_old_in_the_run_before_too_goes() -> None:
    things = entries(31, 40, *[1] * 8)
    first = choose_expired(things, MONTH, 0, (), 0.25)
    assert names(first) == []
    assert first.aged == {"/r/0", "/r/1"}
    assert names(choose_expired(things, MONTH, 0, first.aged, 0.25)) == ["0", "1"]


def test_a_clock_far_ahead_removes_nothing_however_often_it_is_asked() -> None:
    things, previous, year_2038 = entries(*range(20)), frozenset[str](), 4_000 * DAY
    for _ in range(3):
        choice = choose_expired(things, MONTH, year_2038, previous, 0.25)
        assert names(choice) == []
        assert "20 of 20" in choice.warning and "clock" in choice.warning
        previous = choice.aged


def test_a_clock_that_was_wrong_for_one_run_removes_nothing() -> None:
    things = entries(*[0] * 20)
    wrong = choose_expired(things, MONTH, 4_000 * DAY, (), 1.0)
    assert names(wrong) == [] and len(wrong.aged) == 20
    assert names(choose_expired(things, MONTH, DAY, wrong.aged, 1.0)) == []


def test_the_last_single_file_may_age_out() -> None:
    assert names(choose_expired(entries(31), MONTH, 0, {"/r/0"}, 0.25)) == ["0"]


def test_a_file_of_the_future_is_not_old() -> None:
    assert choose_expired(entries(-1e6), MONTH, 0, (), 1.0) == Choice()


def test_the_oldest_go_first_until_the_rest_fits() -> None:
    choice = choose_expired(entries(1, 5, 3, 4, size=10), Limit(size=25), 0, (), 0.25)
    assert names(choice) == ["1", "3"]
    assert {removal.why for removal in choice.removals} == {"the oldest beyond 25 B"}


def test_what_goes_by_age_counts_no_more_for_the_size() -> None:
    choice = choose_expired(entries(31, 2, 1, size=10), Limit(age=30 * DAY, size=20), 0, {"/r/0"}, 1.0)
    assert names(choice) == ["0"]


def test_without_limits_nothing_goes() -> None:
    assert choose_expired(entries(10_000), Limit(), 0, {"/r/0"}, 1.0) == Choice()


@given(
    ages=some.lists(some.floats(-100, 100), max_size=30),
    previous=some.sets(some.integers(0, 30)),
    share=some.floats(0.01, 1),
    size=some.none() | some.integers(0, 300),
)
def test_age_never_takes_more_than_its_share_and_size_no_more_than_it_must(
    ages: list[float], previous: set[int], share: float, size: int | None
) -> None:
    things = entries(*ages)
    choice = choose_expired(things, Limit(age=30 * DAY, size=size), 0, {f"/r/{number}" for number in previous}, share)
    by_age = [removal for removal in choice.removals if removal.why.startswith("older")]
    assert len(by_age) <= max(1, len(things) * share)
    assert {int(removal.path.name) for removal in by_age} <= previous
    left = 10 * (len(things) - len(choice.removals))
    assert size is None or left <= size
    assert len(choice.removals) == len(by_age) or left + 10 > (size or 0)
