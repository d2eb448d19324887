import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from darkroom.daemon.config import Folder
from darkroom.daemon.inbox import Arrival, Sighting
from darkroom.daemon.intake import free_twins, take_in
from darkroom.daemon.job import Job, Signature
from darkroom.daemon.journal import Journal
from darkroom.daemon.states import State


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.db") as opened:
        yield opened


def folder(**fields: Any) -> Folder:
    return Folder.model_validate(
        {"name": "films", "pipeline": "upscale", "inbox": "/in", "outbox": "/out", "priority": 4} | fields
    )


def arrival(path: bytes, content: str = "", **fields: Any) -> Arrival:
    values: dict[str, Any] = {"sidecar": "", "beside": None, "takes": ({},), "fault": ""} | fields
    signature = Signature(size_bytes=1, mtime_ns=2, inode=3)
    return Arrival(path=path, signature=signature, content=content or path.decode(), **values)


def see(journal: Journal, *arrivals: Arrival, at: Folder | None = None, **fields: Any) -> list[int]:
    return take_in(journal, at or folder(), Sighting(arrivals=arrivals, next_look_s=60, **fields), 100.0)


def jobs(journal: Journal) -> dict[bytes, Job]:
    """Return the newest job of each path."""
    return {job.path: job for job in journal.jobs()}


def states(journal: Journal) -> dict[bytes, State]:
    return {path: job.state for path, job in jobs(journal).items()}


def run_to(journal: Journal, *steps: State) -> Job:
    """Claim the next job and bring it on its way."""
    job = journal.claim(["films"], now=1.0, uptime=0.0, boot="")
    assert job is not None
    for step in steps:
        job = journal.move(job.id, step, "", now=1.0)
    return job


# -- arrivals --------------------------------------------------------------------------------------------------------


def test_an_arrival_is_queued_as_its_folder_says(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    see(journal, arrival(b"a.mkv", takes=({"scale": 2},), sidecar="s"))
    job = jobs(journal)[b"a.mkv"]
    assert (job.state, job.priority, job.pipeline, job.options, job.sidecar) == (
        State.QUEUED,
        4,
        "upscale",
        {"scale": 2},
        "s",
    )
    assert caplog.messages == [f"job={job.id} a.mkv queued in films"]


def test_a_faulty_sidecar_quarantines_the_file_with_its_reason(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    see(journal, arrival(b"a.mkv", fault="a.mkv.yaml: scale: expected 2 or 4"))
    job = jobs(journal)[b"a.mkv"]
    assert (job.state, job.reason) == (State.QUARANTINED, "a.mkv.yaml: scale: expected 2 or 4")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_an_arrival_seen_twice_is_one_job(journal: Journal) -> None:
    for _ in range(2):
        see(journal, arrival(b"a.mkv"))
    assert len(journal.jobs()) == 1


# -- the same content ------------------------------------------------------------------------------------------------


def test_of_equal_files_one_is_done_and_the_others_wait_for_it(journal: Journal) -> None:
    see(journal, *(arrival(name, "same") for name in (b"a", b"b", b"c")), arrival(b"d"))
    assert states(journal) == {b"a": State.QUEUED, b"b": State.HELD, b"c": State.HELD, b"d": State.QUEUED}
    assert jobs(journal)[b"c"].reason == f"duplicate of job {jobs(journal)[b'a'].id} (a), which is not done yet"
    run_to(journal, State.PUBLISHING, State.DONE)
    free_twins(journal, 2.0)
    assert states(journal) == {b"a": State.DONE, b"b": State.SKIPPED, b"c": State.SKIPPED, b"d": State.QUEUED}


def test_a_copy_of_what_is_done_is_skipped_at_once(journal: Journal) -> None:
    see(journal, arrival(b"a", "same"))
    done = run_to(journal, State.PUBLISHING, State.DONE)
    see(journal, arrival(b"b", "same"))
    assert (jobs(journal)[b"b"].state, jobs(journal)[b"b"].reason) == (State.SKIPPED, f"duplicate of job {done.id} (a)")


@pytest.mark.parametrize("end", [State.FAILED, State.QUARANTINED, State.CANCELLED])
def test_when_the_first_gives_no_result_the_next_takes_its_place(journal: Journal, end: State) -> None:
    see(journal, *(arrival(name, "same") for name in (b"a", b"b", b"c")))
    run_to(journal, end)
    free_twins(journal, 2.0)
    assert states(journal) == {b"a": end, b"b": State.QUEUED, b"c": State.HELD}
    assert jobs(journal)[b"c"].twin == jobs(journal)[b"b"].id
    run_to(journal, State.PUBLISHING, State.DONE)
    free_twins(journal, 3.0)
    assert states(journal) == {b"a": end, b"b": State.DONE, b"c": State.SKIPPED}


def test_a_duplicate_is_freed_by_the_next_look_when_its_twin_is_cancelled(journal: Journal) -> None:
    see(journal, arrival(b"a", "same"), arrival(b"b", "same"))
    journal.move(jobs(journal)[b"a"].id, State.CANCELLED, "asked to cancel", now=1.0)
    see(journal)
    assert states(journal)[b"b"] is State.QUEUED


def test_a_duplicate_with_other_options_is_another_job(journal: Journal) -> None:
    see(
        journal,
        arrival(b"a", "same"),
        arrival(b"b", "same", takes=({"scale": 4},)),
        arrival(b"c", "same", takes=({"scale": 4},)),
    )
    assert states(journal) == {b"a": State.QUEUED, b"b": State.QUEUED, b"c": State.HELD}
    assert jobs(journal)[b"c"].twin == jobs(journal)[b"b"].id


def test_duplicates_are_processed_where_the_folder_says_so(journal: Journal) -> None:
    see(journal, arrival(b"a", "same"), arrival(b"b", "same"), at=folder(duplicates="process"))
    assert set(states(journal).values()) == {State.QUEUED}


def test_a_duplicate_cancelled_while_it_is_freed_stays_cancelled(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    see(journal, arrival(b"a", "same"), arrival(b"b", "same"))
    run_to(journal, State.FAILED)
    freed = journal.freed_twins()
    journal.move(freed[0].id, State.CANCELLED, "asked to cancel", now=1.0)
    monkeypatch.setattr(journal, "freed_twins", lambda: freed)
    free_twins(journal, 2.0)
    assert states(journal)[b"b"] is State.CANCELLED


# -- files that change or go -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True])
def test_a_waiting_job_whose_file_went_is_cancelled_and_its_return_is_news(journal: Journal, held: bool) -> None:
    see(journal, arrival(b"a"))
    number = jobs(journal)[b"a"].id
    if held:
        journal.move(number, State.HELD, "asked to hold", now=1.0)
    assert see(journal, missing=(number,)) == []
    assert journal.job(number).state is State.CANCELLED
    assert journal.known("films")[b"a"].signature.mtime_ns == -1, "the same file coming back differs from this"


def test_a_running_job_whose_file_went_goes_on(journal: Journal) -> None:
    see(journal, arrival(b"a"))
    job = run_to(journal)
    assert see(journal, missing=(job.id,)) == [] and journal.job(job.id).state is State.RUNNING


def test_a_changed_file_ends_a_waiting_job_now_and_a_running_one_by_the_caller(journal: Journal) -> None:
    see(journal, arrival(b"a"), arrival(b"b"))
    running, waiting = run_to(journal), jobs(journal)[b"b"]
    assert see(journal, replaced=(running.id, waiting.id)) == [running.id]
    assert (journal.job(running.id).state, journal.job(waiting.id).state) == (State.RUNNING, State.CANCELLED)


def test_jobs_that_ended_or_were_forgotten_during_the_look_are_no_trouble(journal: Journal) -> None:
    see(journal, arrival(b"a"), arrival(b"b"))
    ended, forgotten = run_to(journal, State.FAILED), run_to(journal, State.FAILED)
    journal.forget([forgotten.id])
    assert see(journal, missing=(ended.id, forgotten.id), replaced=(ended.id, forgotten.id)) == []
    assert journal.job(ended.id).state is State.FAILED
