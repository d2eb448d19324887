import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clocks import Clock
from patience import PATIENCE_S

from darkroom.daemon import lookout as lookout_module
from darkroom.daemon.config import Config
from darkroom.daemon.inbox import Inbox
from darkroom.daemon.intake import take_in
from darkroom.daemon.journal import Journal
from darkroom.daemon.lookout import HANGS_AFTER_S, Look, Lookout
from darkroom.daemon.marker import INBOX, OUTBOX
from darkroom.pipelines.errors import Unavailable


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    wound = Clock()
    monkeypatch.setattr(lookout_module, "time", wound)
    return wound


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.db") as opened:
        yield opened


def lookout_on(root: Path, remembered: dict[str, str] | None = None, **folder: Any) -> Lookout:
    entry = {"name": "films", "pipeline": "upscale", "inbox": root / "in", "outbox": root / "out", "settle": 2}
    disk = {"work_reserve": 0, "outbox_reserve": 0}
    watch = {"scan_local": 60, "scan_network": 15}
    config = Config.model_validate({"state": root, "folders": [entry | folder], "disk": disk, "watch": watch})
    return Lookout(config.folders[0], config, remembered or {})


@pytest.fixture
def lookout(tmp_path: Path, clock: Clock) -> Lookout:
    return lookout_on(tmp_path)


def look(lookout: Lookout, journal: Journal) -> Look | None:
    """Begin a look if one is due, wait for its end, and return what it found."""
    lookout.begin(journal)
    if lookout._thread is not None:
        lookout._thread.join(PATIENCE_S)
    return lookout.finished()


def test_a_first_look_makes_the_folders_and_their_markers(lookout: Lookout, journal: Journal, tmp_path: Path) -> None:
    assert lookout.offline() == lookout_module.NOT_LOOKED and not lookout.settled()
    found = look(lookout, journal)
    assert found is not None and lookout.offline() == "" and lookout.settled()
    assert (tmp_path / "in" / INBOX).exists() and (tmp_path / "out" / OUTBOX).exists()
    assert set(lookout.identities) == {str(tmp_path / "in"), str(tmp_path / "out")}


def test_a_file_is_looked_at_again_when_it_can_be_ready_and_no_sooner(
    lookout: Lookout, journal: Journal, clock: Clock, tmp_path: Path
) -> None:
    look(lookout, journal)
    clock.now += 60
    look(lookout, journal)
    (tmp_path / "in" / "a.mkv").write_bytes(b"film")
    clock.now += 59
    assert look(lookout, journal) is None, "no look is due"
    lookout.wake()
    found = look(lookout, journal)
    assert found is not None and not found.sighting.arrivals and not lookout.settled()
    clock.now += 1.9
    assert look(lookout, journal) is None
    clock.now += 0.2
    found = look(lookout, journal)
    assert found is not None and [arrival.path for arrival in found.sighting.arrivals] == [b"a.mkv"]
    take_in(journal, lookout.folder, found.sighting, 1.0)
    clock.now += 60
    found = look(lookout, journal)
    assert found is not None and not found.sighting.arrivals and lookout.settled()


def test_a_wake_during_a_look_makes_another_one_due(lookout: Lookout, journal: Journal) -> None:
    lookout.begin(journal)
    lookout.wake()
    assert lookout._thread is not None
    lookout._thread.join(PATIENCE_S)
    assert lookout.finished() is not None and not lookout.settled()
    assert look(lookout, journal) is not None and lookout.settled()


def test_a_folder_that_is_not_the_one_it_was_is_offline(
    lookout: Lookout, journal: Journal, clock: Clock, tmp_path: Path
) -> None:
    look(lookout, journal)
    for name, marker in (("in", INBOX), ("out", OUTBOX)):
        (tmp_path / name / marker).rename(tmp_path / "kept")
        clock.now += 100
        look(lookout, journal)
        assert "is the share mounted" in lookout.offline() and f"{tmp_path / name}:" in lookout.offline()
        (tmp_path / "kept").rename(tmp_path / name / marker)
        clock.now += 100
        look(lookout, journal)
        assert lookout.offline() == ""


def test_jobs_wait_for_the_folder_their_originals_are_to_be_moved_to(
    journal: Journal, clock: Clock, tmp_path: Path
) -> None:
    lookout = lookout_on(tmp_path, originals="move", originals_folder=tmp_path / "kept")
    look(lookout, journal)
    assert lookout.offline() == ""
    (tmp_path / "kept").rename(tmp_path / "unmounted")
    clock.now += 60
    look(lookout, journal)
    assert lookout.offline().startswith(f"{tmp_path / 'kept'}: ")
    (tmp_path / "unmounted").rename(tmp_path / "kept")
    clock.now += 60
    look(lookout, journal)
    assert lookout.offline() == ""


def test_a_folder_is_known_again_after_a_restart(lookout: Lookout, journal: Journal, tmp_path: Path) -> None:
    look(lookout, journal)
    (tmp_path / "in" / INBOX).unlink()
    again = lookout_on(tmp_path, lookout.identities)
    look(again, journal)
    assert "marker" in again.offline() and not (tmp_path / "in" / INBOX).exists()


def test_a_folder_that_cannot_be_made_is_offline_and_tried_again(
    lookout: Lookout, journal: Journal, clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("a file where the inbox should be")
    look(lookout, journal)
    assert str(tmp_path / "in") in lookout.offline() and lookout.settled()
    (tmp_path / "in").unlink()
    clock.now += 16
    look(lookout, journal)
    assert lookout.offline() == ""


def test_a_file_server_that_hangs_is_told_and_holds_up_nobody(
    lookout: Lookout, journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(lookout, journal)
    answers, original = threading.Event(), Inbox.look

    def hang(*arguments: Any) -> Any:
        assert answers.wait(PATIENCE_S)
        return original(*arguments)

    monkeypatch.setattr(Inbox, "look", hang)
    clock.now += 100
    lookout.begin(journal)
    assert lookout.finished() is None and lookout.offline() == ""
    assert not lookout.hangs()
    clock.now += HANGS_AFTER_S + 1
    assert lookout.hangs() and lookout.hangs(still_s=HANGS_AFTER_S + 1)
    assert not lookout.hangs(still_s=HANGS_AFTER_S - 1), "a worker that moved meanwhile does not hang with it"
    lookout.begin(journal)
    assert lookout.finished() is None and "has not answered for" in lookout.offline() and lookout.settled()
    answers.set()
    assert lookout._thread is not None
    lookout._thread.join(PATIENCE_S)
    assert lookout.finished() is not None and lookout.offline() == ""


def test_a_bug_in_a_look_is_logged_and_closes_its_folder_only(
    lookout: Lookout, journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fall(*_arguments: Any) -> Any:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(Inbox, "look", fall)
        assert look(lookout, journal) is not None
    assert "ZeroDivisionError: a bug" in lookout.offline()
    assert [record.levelno for record in caplog.records] == [logging.ERROR] and caplog.records[0].exc_info
    clock.now += 100
    look(lookout, journal)
    assert lookout.offline() == ""


def test_a_look_that_gets_no_thread_is_tried_again(
    lookout: Lookout, journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert look(lookout, journal) is None
    assert "can't start new thread" in caplog.text
    clock.now += 100
    assert look(lookout, journal) is not None


def test_an_outbox_that_may_no_longer_be_written_is_told_before_any_work(
    lookout: Lookout, journal: Journal, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(lookout, journal)
    asked: list[tuple[Path, int]] = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append((path, mode)))  # root may write everywhere
    clock.now += 60
    look(lookout, journal)
    assert lookout.offline() == f"{tmp_path / 'out'}: cannot be written; let this user write to it"
    assert asked == [(tmp_path / "out", os.W_OK | os.X_OK)]


def test_an_inbox_that_is_its_own_outbox_is_not_watched_whatever_its_paths(tmp_path: Path, journal: Journal) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").symlink_to("in")  # as a folder mounted in two places looks
    (tmp_path / "in" / "film.mkv").write_bytes(b"film")
    lookout = lookout_on(tmp_path)
    look(lookout, journal)
    assert lookout.offline() == f"{tmp_path / 'in'}: the same folder as its outbox, {tmp_path / 'out'}; part them"


def test_an_outbox_without_space_is_told(tmp_path: Path, journal: Journal, clock: Clock) -> None:
    lookout = lookout_on(tmp_path)
    lookout._config = lookout._config.model_copy(
        update={"disk": lookout._config.disk.model_copy(update={"outbox_reserve": 2**60})}
    )
    look(lookout, journal)
    assert str(tmp_path / "out") in lookout.offline() and "needed" in lookout.offline()


def test_a_look_stays_due_while_the_journal_is_locked(lookout: Lookout, tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.db", patience_s=0) as journal:
        look(lookout, journal)
        lookout.wake()
        with sqlite3.connect(tmp_path / "journal.db", isolation_level=None) as other:
            journal._sql.execute("PRAGMA journal_mode = DELETE")
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(Unavailable):
                lookout.begin(journal)
            assert not lookout.settled(), "or a drain would end with files that nobody has looked for"
            other.execute("ROLLBACK")
        other.close()
        assert look(lookout, journal) is not None
