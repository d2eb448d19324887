import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from apscheduler.schedulers import base
from apscheduler.triggers.cron import CronTrigger
from patience import PATIENCE_S

from darkroom.daemon import housekeeping as housekeeping_module
from darkroom.daemon.clock import unix_now
from darkroom.daemon.config import Config
from darkroom.daemon.expiry import Removal
from darkroom.daemon.housekeeping import JUMP_S, Housekeeping, run_daily
from darkroom.daemon.job import NewJob, Signature
from darkroom.daemon.journal import FILE, Journal


@pytest.fixture
def config(tmp_path: Path) -> Config:
    folder = {"name": "films", "pipeline": "upscale", "inbox": tmp_path / "in", "outbox": tmp_path / "out"}
    state = tmp_path / "state"
    state.mkdir()
    return Config.model_validate({"state": state, "folders": [folder], "retention": {"at": "03:30"}})


@pytest.fixture
def housekeeping(config: Config) -> Iterator[Housekeeping]:
    running = Housekeeping(config)
    yield running
    running.stop()


def next_run(housekeeping: Housekeeping) -> datetime:
    (job,) = housekeeping._scheduler.get_jobs()
    found: datetime = job.next_run_time
    return found


def test_the_next_run_is_at_the_time_of_day_asked_for(housekeeping: Housekeeping) -> None:
    when = next_run(housekeeping)
    assert (when.hour, when.minute) == (3, 30)
    assert timedelta(0) <= when - datetime.now(when.tzinfo) <= timedelta(days=1, hours=1)


@pytest.mark.parametrize("jump_s", [-7200.0, 20 * 365 * 86400.0, -(JUMP_S + 1)])
def test_a_clock_that_was_set_makes_the_schedule_anew(
    housekeeping: Housekeeping, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, jump_s: float
) -> None:
    (before,) = housekeeping._scheduler.get_jobs()
    monkeypatch.setattr(housekeeping_module, "unix_now", lambda: unix_now() + jump_s)
    for _ in range(3):
        housekeeping.follow_clock()
    (after,) = housekeeping._scheduler.get_jobs()
    assert after.id != before.id and len(caplog.messages) == 1 and "the clock was set by" in caplog.messages[0]


def test_a_clock_that_is_only_slewed_changes_nothing(
    housekeeping: Housekeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before,) = housekeeping._scheduler.get_jobs()
    monkeypatch.setattr(housekeeping_module, "unix_now", lambda: unix_now() + JUMP_S / 2)
    housekeeping.follow_clock()
    (after,) = housekeeping._scheduler.get_jobs()
    assert after.id == before.id


def test_suspending_the_machine_is_no_jump(housekeeping: Housekeeping, monkeypatch: pytest.MonkeyPatch) -> None:
    (before,) = housekeeping._scheduler.get_jobs()
    sleep(monkeypatch, 8 * 3600.0)
    housekeeping.follow_clock()
    (after,) = housekeeping._scheduler.get_jobs()
    assert after.id == before.id


def sleep(monkeypatch: pytest.MonkeyPatch, asleep_s: float) -> None:
    """Let the clocks be as after a suspension: those that tell seconds since boot go on, the monotonic one does not."""
    for name in ("unix_now", "uptime"):
        original = getattr(housekeeping_module, name)
        monkeypatch.setattr(housekeeping_module, name, lambda original=original: original() + asleep_s)


def test_what_the_machine_slept_through_is_made_up_for_when_it_wakes(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler itself would wait on for all the hours that were left before the machine went to sleep."""
    ran = threading.Event()
    monkeypatch.setattr(housekeeping_module, "run_daily", lambda config: ran.set())
    housekeeping = Housekeeping(config)
    try:
        (job,) = housekeeping._scheduler.get_jobs()
        monkeypatch.setattr(base, "datetime", late(job.next_run_time + timedelta(hours=5)))
        assert not ran.is_set()
        sleep(monkeypatch, 8 * 3600.0)
        housekeeping.follow_clock()
        assert ran.wait(PATIENCE_S)
    finally:
        housekeeping.stop()


def late(now: datetime) -> type[datetime]:
    """Return a `datetime` for which it is `now`."""

    class Late(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Late":
            return cls.fromtimestamp(now.timestamp(), tz)

    return Late


@pytest.mark.parametrize("at", ["02:30", "02:00", "03:00", "04:00"])
def test_the_days_on_which_the_clocks_change_have_their_run_too(at: str) -> None:
    """Berlin: on 29 March 2026 there is no half past two; on 25 October there are two, and two runs do no harm."""
    zone = ZoneInfo("Europe/Berlin")
    hour, minute = map(int, at.split(":"))
    trigger = CronTrigger(hour=hour, minute=minute, timezone=zone)
    for first in (datetime(2026, 3, 27, 12, tzinfo=zone), datetime(2026, 10, 23, 12, tzinfo=zone)):
        runs: list[datetime] = []
        for _ in range(4):
            runs.append(trigger.get_next_fire_time(runs[-1] if runs else None, runs[-1] if runs else first))
        assert list(dict.fromkeys(run.day - first.day for run in runs))[:3] == [1, 2, 3]
        assert all(earlier.timestamp() < later.timestamp() for earlier, later in pairwise(runs))


def test_a_daily_run_keeps_a_copy_of_the_journal(config: Config) -> None:
    signature = Signature(size_bytes=1, mtime_ns=2, inode=3)
    with Journal(config.state / FILE) as journal:
        journal.enqueue([NewJob(folder="films", pipeline="upscale", path=b"a", signature=signature)], 1.0)
    run_daily(config)
    (copy,) = (config.state / "backups").glob("journal-*.db")
    with Journal(copy) as kept:
        assert [job.path for job in kept.jobs()] == [b"a"]


def test_a_daily_run_that_fails_says_so_and_no_more(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    (config.state / "backups").write_text("a file where the folder should be")
    run_daily(config)
    assert len(caplog.messages) == 1 and "it is tried again tomorrow" in caplog.messages[0]


def test_a_damaged_journal_does_not_pass_for_a_sound_backup(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    (config.state / FILE).write_bytes(b"not a database" * 1000)
    run_daily(config)
    assert len(caplog.messages) == 1 and "restart the daemon" in caplog.messages[0]
    assert not list((config.state / "backups").glob("*"))


def test_clearing_up_that_waits_for_a_file_server_holds_up_neither_the_end_nor_the_backup(
    housekeeping: Housekeeping, config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers, begun = threading.Event(), threading.Event()

    def hang(*_arguments: object, **_options: object) -> list[Removal]:
        begun.set()
        assert answers.wait(PATIENCE_S)
        return []

    with Journal(config.state / FILE):
        monkeypatch.setattr(housekeeping_module, "prune", hang)
        housekeeping._run()
        assert begun.wait(PATIENCE_S)
        (hanging,) = (thread for thread in threading.enumerate() if thread.name == "daily run")
        assert hanging.daemon, "the interpreter does not wait for it"
        (backup,) = (config.state / "backups").iterdir()
        backup.unlink()
        housekeeping._run()
        assert "does a file server hang?" in caplog.text and backup.exists()
        answers.set()
        hanging.join(PATIENCE_S)
        housekeeping._run()
    assert len(caplog.messages) == 1
