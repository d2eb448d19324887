from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.daemon.config import Config
from darkroom.daemon.job import Job, NewJob, Signature
from darkroom.daemon.journal import Journal
from darkroom.daemon.parts import work_folder
from darkroom.daemon.recovery import recover
from darkroom.daemon.states import State


@pytest.fixture
def config(tmp_path: Path) -> Config:
    folder = {"name": "films", "pipeline": "upscale", "inbox": tmp_path / "in", "outbox": tmp_path / "out"}
    return Config.model_validate({"state": tmp_path, "folders": [folder]})


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.db") as opened:
        yield opened


def busy(journal: Journal, name: str, *, boot: str = "now", state: State = State.RUNNING) -> Job:
    """Return a job that was claimed in the boot `boot`, in `state`."""
    signature = Signature(size_bytes=1, mtime_ns=2, inode=3)
    new = NewJob(folder="films", pipeline="upscale", path=name.encode(), signature=signature)
    journal.enqueue([new], 1.0)
    job = journal.claim(["films"], now=1.0, uptime=0.0, boot=boot)
    assert job is not None
    if state is State.RUNNING:
        return job
    if state is State.DONE:
        journal.move(job.id, State.PUBLISHING, "", now=1.0)
    return journal.move(job.id, state, "", now=1.0)


def make_part(config: Config, job: Job, index: int) -> Path:
    part = work_folder(config.state, job.id) / "plan" / f"{index:06d}.mkv"
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(b"part")
    return part


def start(config: Config, journal: Journal) -> None:
    recover(config, journal, boot="now", now=5.0)


@pytest.mark.parametrize("state", [State.RUNNING, State.PUBLISHING])
def test_what_a_dead_daemon_left_running_is_queued_without_blame(
    config: Config, journal: Journal, state: State
) -> None:
    job = busy(journal, "a", state=state)
    part = make_part(config, job, 0)
    for _ in range(5):
        start(config, journal)
        assert (journal.job(job.id).state, journal.job(job.id).crashes) == (State.QUEUED, 0)
        journal.claim(["films"], now=1.0, uptime=0.0, boot="now")
    assert part.exists()


def test_a_job_under_which_the_machine_went_down_three_times_is_quarantined(config: Config, journal: Journal) -> None:
    job = busy(journal, "a", boot="boot 0")
    make_part(config, job, 0)
    for outage in range(1, 3):
        start(config, journal)
        assert (journal.job(job.id).state, journal.job(job.id).crashes) == (State.QUEUED, outage)
        journal.claim(["films"], now=1.0, uptime=0.0, boot=f"boot {outage}")
    start(config, journal)
    assert journal.job(job.id).state is State.QUARANTINED
    assert "the machine went down, 3 times at segment 2" in journal.job(job.id).reason


def test_a_job_that_gets_on_between_outages_is_never_blamed(config: Config, journal: Journal) -> None:
    job = busy(journal, "a", boot="boot 0")
    for outage in range(1, 6):
        make_part(config, job, outage)
        start(config, journal)
        assert journal.job(job.id).state is State.QUEUED
        journal.claim(["films"], now=1.0, uptime=0.0, boot=f"boot {outage}")


def test_delays_measured_before_a_reboot_are_void_those_of_this_boot_hold(config: Config, journal: Journal) -> None:
    old, recent = busy(journal, "a", boot="before"), busy(journal, "b")
    for job in (old, recent):
        journal.move(job.id, State.QUEUED, "disk; next try in 5 min", now=1.0, not_before=1e9)
    start(config, journal)
    assert (journal.job(old.id).not_before, journal.job(recent.id).not_before) == (0.0, 1e9)


def test_work_of_jobs_that_are_over_goes_and_all_other_work_stays(config: Config, journal: Journal) -> None:
    over = [busy(journal, f"{state}", state=state) for state in (State.DONE, State.CANCELLED, State.SKIPPED)]
    kept = [busy(journal, f"{state}", state=state) for state in (State.FAILED, State.QUARANTINED, State.RUNNING)]
    for job in (*over, *kept):
        make_part(config, job, 0)
    strangers = [config.state / "work" / name for name in ("999", "12notes", "9" * 30, "notes")]
    for stranger in strangers:
        stranger.mkdir()
    start(config, journal)
    assert not any(work_folder(config.state, job.id).exists() for job in over)
    assert all(work_folder(config.state, job.id).exists() for job in kept)
    assert all(stranger.exists() for stranger in strangers)


def test_recovery_again_and_again_changes_nothing_more(config: Config, journal: Journal) -> None:
    job = busy(journal, "a", boot="before")
    start(config, journal)
    events = journal.events(job.id)
    for _ in range(20):
        start(config, journal)
    assert journal.events(job.id) == events


@pytest.mark.parametrize(("ask", "state"), [("cancel", State.CANCELLED), ("hold", State.HELD)])
def test_a_wish_that_the_daemon_could_not_answer_any_more_is_answered_at_the_next_start(
    config: Config, journal: Journal, ask: str, state: State
) -> None:
    job = busy(journal, "a.mkv")
    assert journal.ask(job.id, ask)
    start(config, journal)
    assert journal.job(job.id).state is state
