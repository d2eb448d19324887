"""The states of a job and the one table of legal moves between them."""

from collections.abc import Collection
from enum import StrEnum


class State(StrEnum):
    """Where a job stands; the last five are ends, each with its reason."""

    QUEUED = "queued"
    HELD = "held"
    RUNNING = "running"
    PUBLISHING = "publishing"
    DONE = "done"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


LIVE = frozenset({State.QUEUED, State.HELD, State.RUNNING, State.PUBLISHING})
WAITING = frozenset({State.QUEUED, State.HELD})  # nobody works on the job, and it can be moved at once
BUSY = frozenset({State.RUNNING, State.PUBLISHING})  # a worker has the job
ENDS = frozenset(State) - LIVE
ASKED = {"cancel": State.CANCELLED, "hold": State.HELD}  # where a wish for a running job leads, whatever ends its run

MOVES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.HELD, State.CANCELLED}),
    State.HELD: frozenset({State.QUEUED, State.CANCELLED, State.SKIPPED}),
    # back to queued: drain, crash, retry later; nothing of the work is lost, its parts stay
    State.RUNNING: frozenset(
        {State.QUEUED, State.HELD, State.PUBLISHING, State.FAILED, State.QUARANTINED, State.CANCELLED, State.SKIPPED}
    ),
    State.PUBLISHING: frozenset({State.DONE, State.QUEUED, State.FAILED, State.SKIPPED}),
    **{end: frozenset({State.QUEUED}) for end in ENDS},  # only when a person says retry
}


class IllegalMove(ValueError):
    """A job cannot go from the state it is in to the one asked for."""


def check_move(job: int, old: State, new: State, expected: Collection[State] = frozenset(State)) -> None:
    """Raise IllegalMove unless a job may go from `old`, one of `expected`, to `new`."""
    if new not in MOVES[old] or old not in expected:
        raise IllegalMove(f"job {job} is {old} and cannot become {new}")
