import pytest

from darkroom.daemon.states import BUSY, ENDS, LIVE, MOVES, IllegalMove, State, check_move


def test_each_state_is_live_or_an_end_and_has_its_moves() -> None:
    assert set(MOVES) == set(State) == LIVE | ENDS
    assert not LIVE & ENDS
    assert BUSY < LIVE


def test_each_state_can_be_reached_and_each_live_one_can_end() -> None:
    reached = {State.QUEUED}
    for _ in State:
        reached |= {new for old in reached for new in MOVES[old]}
    assert reached == set(State)
    assert all(MOVES[state] & ENDS for state in LIVE)


def test_an_end_is_left_only_to_the_queue() -> None:
    assert {MOVES[end] for end in ENDS} == {frozenset({State.QUEUED})}


def test_only_what_is_verified_is_published_and_only_what_is_published_is_done() -> None:
    assert {old for old in State if State.PUBLISHING in MOVES[old]} == {State.RUNNING}
    assert {old for old in State if State.DONE in MOVES[old]} == {State.PUBLISHING}


def test_an_illegal_move_names_the_job_and_both_states() -> None:
    with pytest.raises(IllegalMove, match="job 7 is done and cannot become cancelled"):
        check_move(7, State.DONE, State.CANCELLED)


def test_a_legal_move_from_another_state_than_expected_is_illegal() -> None:
    check_move(7, State.QUEUED, State.CANCELLED, {State.QUEUED, State.HELD})
    with pytest.raises(IllegalMove, match="job 7 is running"):
        check_move(7, State.RUNNING, State.CANCELLED, {State.QUEUED, State.HELD})
