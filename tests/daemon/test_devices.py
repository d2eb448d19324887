from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.daemon.devices import FAILING_AFTER, SCOPE, CircuitBreakers, devices, on_hold, with_devices
from darkroom.daemon.job import NewJob, Signature
from darkroom.daemon.journal import EVERYTHING, Journal
from darkroom.daemon.states import State

NOW = 1e9
BOTH = ["cuda:0", "cuda:1"]


def test_devices_are_named_once_and_auto_is_one_of_them() -> None:
    assert devices(["cuda:1", "cpu", "cuda:1"]) == ["cuda:1", "cpu"]
    assert devices(["auto"])[0] in ("cuda:0", "cpu")
    assert devices([*devices(["auto"]), "auto"]) == devices(["auto"])


def test_a_hold_of_one_device_is_none_of_folders_and_one_of_all_is() -> None:
    one = {SCOPE + "cuda:1": "fell", "films": "guests"}
    assert on_hold(one, BOTH) == {"cuda:1": "fell"}
    assert with_devices(one, BOTH) == one
    both = one | {SCOPE + "cuda:0": "fell too"}
    assert with_devices(both, BOTH) == both | {EVERYTHING: "fell"}
    assert with_devices(one, ["cuda:1"])[EVERYTHING] == "fell", "a device that is no longer used does not count"
    assert with_devices(both | {EVERYTHING: "heat"}, BOTH)[EVERYTHING] == "heat"


# -- the breakers ----------------------------------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.db") as journal:
        yield journal


def fallen(journal: Journal, count: int = FAILING_AFTER) -> list[int]:
    """Queue some jobs that wait for their second try, and return their numbers."""
    signature = Signature(size_bytes=1, mtime_ns=1, inode=1)
    names = [b"%d.mp4" % number for number in range(count)]
    new = [NewJob(folder="films", pipeline="upscale", path=name, signature=signature) for name in names]
    numbers = journal.enqueue(new, NOW)
    for number in numbers:
        journal.note(number, failures=1, not_before=1e6)
    return numbers


def test_some_different_jobs_in_a_row_put_their_device_on_hold_and_are_tried_again(journal: Journal) -> None:
    breakers, numbers = CircuitBreakers(journal), fallen(journal)
    for state in (State.RUNNING, State.QUARANTINED):
        journal.move(numbers[0], state, "poison", now=NOW)
    for number in numbers:
        assert journal.holds() == {}
        breakers.strain("cuda:1", number, "it was lost", now=NOW)
    (reason,) = on_hold(journal.holds(), BOTH).values()
    assert reason.startswith("3 jobs in a row ended the worker on cuda:1, and last it was lost; ")
    assert {(job.state, job.failures, job.not_before) for job in journal.jobs()} == {(State.QUEUED, 0, 0)}


def test_neither_one_job_again_and_again_nor_jobs_of_two_devices_nor_a_success_in_between_do(journal: Journal) -> None:
    breakers, (first, second, third) = CircuitBreakers(journal), fallen(journal)
    for number in (first, first, first, second):
        breakers.strain("cuda:1", number, "it was lost", now=NOW)
    breakers.strain("cuda:0", third, "it was lost", now=NOW)
    breakers.close("cuda:1")
    breakers.strain("cuda:1", third, "it was lost", now=NOW)
    assert journal.holds() == {}
    assert {job.failures for job in journal.jobs()} == {1}


def test_after_a_release_it_takes_as_many_again(journal: Journal) -> None:
    breakers, numbers = CircuitBreakers(journal), fallen(journal, 2 * FAILING_AFTER)
    for number in numbers[:FAILING_AFTER]:
        breakers.strain("cpu", number, "it was lost", now=NOW)
    assert journal.release(SCOPE + "cpu")
    for number in numbers[FAILING_AFTER:-1]:
        breakers.strain("cpu", number, "it was lost", now=NOW)
    assert journal.holds() == {}
