from hypothesis import given
from hypothesis import strategies as st

from darkroom.daemon.settle import Settling


def test_a_file_seen_for_the_first_time_has_not_been_still() -> None:
    assert Settling().still_s(b"a", (1, 2), now=100.0) == 0.0


def test_stillness_counts_from_the_first_sight_of_a_version() -> None:
    settling = Settling()
    settling.still_s(b"a", (1, 2), now=100.0)
    settling.still_s(b"a", (1, 2), now=100.5)
    assert settling.still_s(b"a", (1, 2), now=102.0) == 2.0


def test_any_change_starts_the_count_again() -> None:
    settling = Settling()
    settling.still_s(b"a", (1, 2), now=100.0)
    assert settling.still_s(b"a", (1, 3), now=103.0) == 0.0
    assert settling.still_s(b"a", (1, 2), now=104.0) == 0.0  # back to what it was is a change as well
    assert settling.still_s(b"a", (1, 2), now=105.0) == 1.0


def test_files_settle_independently() -> None:
    settling = Settling()
    settling.still_s(b"a", 1, now=0.0)
    settling.still_s(b"b", 1, now=5.0)
    assert settling.still_s(b"a", 1, now=6.0) == 6.0
    assert settling.still_s(b"b", 1, now=6.0) == 1.0


def test_a_forgotten_file_begins_anew() -> None:
    settling = Settling()
    settling.still_s(b"gone", 1, now=0.0)
    settling.still_s(b"kept", 1, now=0.0)
    settling.keep([b"kept"])
    assert len(settling) == 1
    assert settling.still_s(b"gone", 1, now=9.0) == 0.0
    assert settling.still_s(b"kept", 1, now=9.0) == 9.0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), min_size=1))
def test_stillness_is_the_length_of_the_last_run_of_equal_versions(looks: list[tuple[int, int]]) -> None:
    settling, now, since, previous = Settling(), 0, 0, -1
    for version, pause in looks:
        now += pause
        since = since if version == previous else now
        previous = version
        assert settling.still_s(b"x", version, float(now)) == now - since
