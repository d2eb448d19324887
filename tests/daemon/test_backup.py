import shutil
import sqlite3
from datetime import date, timedelta
from pathlib import Path

import pytest

from darkroom.daemon.backup import back_up, damage, open_or_recover
from darkroom.daemon.job import NewJob, Signature
from darkroom.daemon.journal import Journal
from darkroom.daemon.states import State
from darkroom.pipelines.errors import Unavailable

DAY = date(2026, 3, 1)


def enqueue(journal: Journal, count: int, first: int = 0) -> None:
    signature = Signature(size_bytes=1, mtime_ns=1, inode=1)
    journal.enqueue(
        [
            NewJob(folder="films", pipeline="upscale", path=b"%d.avi" % number, signature=signature)
            for number in range(first, first + count)
        ],
        now=0,
    )


def journal_with(state: Path, count: int) -> Path:
    state.mkdir(exist_ok=True)
    with Journal(state / "journal.db") as journal:
        enqueue(journal, count)
    return state / "journal.db"


def jobs_in(path: Path) -> int:
    with Journal(path) as journal:
        return len(journal.jobs())


def opened(state: Path) -> tuple[int, str]:
    journal, told = open_or_recover(state)
    with journal:
        return len(journal.jobs()), told


def test_a_first_start_has_nothing_to_tell(tmp_path: Path) -> None:
    assert opened(tmp_path / "state") == (0, "")


def test_a_sound_journal_is_opened_as_it_is(tmp_path: Path) -> None:
    journal_with(tmp_path, 3)
    assert opened(tmp_path) == (3, "")


def test_a_copy_is_sound_complete_and_taken_from_an_open_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.db") as journal:
        enqueue(journal, 5)
        copy = back_up(journal, tmp_path, 7, DAY)
        enqueue(journal, 1, first=5)
    assert copy == tmp_path / "backups/journal-2026-03-01.db"
    assert damage(copy) == ""
    assert jobs_in(copy) == 5
    assert [path.name for path in (tmp_path / "backups").iterdir()] == [copy.name]


def test_the_newest_copies_are_kept_and_one_a_day(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.db") as journal:
        for day in (0, 1, 1, 2, 3):
            back_up(journal, tmp_path, 2, DAY + timedelta(days=day))
            enqueue(journal, 1, first=day)
    kept = sorted(path.name for path in (tmp_path / "backups").iterdir())
    assert kept == ["journal-2026-03-03.db", "journal-2026-03-04.db"]


def test_a_day_that_never_was_neither_outlives_nor_drives_out_what_is_newer(tmp_path: Path) -> None:
    """A clock that stood at 2046 for a day, and at 2006 for another: the copies count by what they hold."""
    days = [date(2046, 3, 1), DAY, DAY + timedelta(days=1), date(2006, 3, 1), DAY + timedelta(days=2)]
    with Journal(tmp_path / "journal.db") as journal:
        for number, day in enumerate(days):
            enqueue(journal, 1, first=number)
            copy = back_up(journal, tmp_path, 3, day)
            assert copy is not None and copy.exists()
    kept = sorted(path.name for path in (tmp_path / "backups").iterdir())
    assert kept == ["journal-2006-03-01.db", "journal-2026-03-02.db", "journal-2026-03-03.db"]


def test_the_copy_that_holds_most_is_restored_whatever_day_it_bears(tmp_path: Path) -> None:
    path = journal_with(tmp_path, 1)
    for day, jobs in ((date(2046, 3, 1), 2), (DAY, 3)):
        with Journal(path) as journal:
            enqueue(journal, 1, first=jobs - 1)
            back_up(journal, tmp_path, 7, day)
    overwrite(path)
    jobs, told = opened(tmp_path)
    assert jobs == 3 and "restored from journal-2026-03-01.db" in told


def test_progress_goes_on_though_all_that_happened_is_forgotten(tmp_path: Path) -> None:
    with Journal(journal_with(tmp_path, 3)) as journal:
        before = journal.progress()
        for job in journal.jobs():
            journal.move(job.id, State.CANCELLED, "", now=0)
        after = journal.progress()
        journal.forget([1, 2, 3])
        enqueue(journal, 1)
        assert before < after < journal.progress()


def test_no_copies_are_made_or_removed_if_none_are_wanted(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.db") as journal:
        back_up(journal, tmp_path, 1, DAY)
        assert back_up(journal, tmp_path, 0, DAY + timedelta(days=1)) is None
    assert len(list((tmp_path / "backups").iterdir())) == 1


def test_what_a_crash_left_of_a_copy_goes_with_the_next_one(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.db") as journal:
        (tmp_path / "backups").mkdir()
        for end in ("", "-wal", "-shm"):
            (tmp_path / f"backups/journal-2026-02-28.draft.db{end}").write_bytes(b"begun")
        copy = back_up(journal, tmp_path, 7, DAY)
    assert [path for path in (tmp_path / "backups").iterdir()] == [copy]


def overwrite(path: Path) -> None:
    path.write_bytes(b"this is no database at all" * 400)


def zero_a_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    page = data.index(b"1.avi") // 4096
    data[page * 4096 : (page + 1) * 4096] = bytes(4096)
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = pytest.mark.parametrize("harm", [overwrite, zero_a_page, truncate])


@DAMAGES
def test_a_damaged_journal_is_kept_aside_and_the_newest_sound_copy_restored(tmp_path: Path, harm: object) -> None:
    assert callable(harm)
    path = journal_with(tmp_path, 3)
    with Journal(path) as journal:
        back_up(journal, tmp_path, 7, DAY)
        enqueue(journal, 20, first=3)
        newest = back_up(journal, tmp_path, 7, DAY + timedelta(days=1))
    assert newest is not None
    overwrite(newest)
    harm(path)
    harmed = path.read_bytes()
    jobs, told = opened(tmp_path)
    assert jobs == 3
    assert "was damaged" in told and "restored from journal-2026-03-01.db" in told
    [aside] = [found for found in tmp_path.glob("journal.db.damaged-*") if found.suffix[-4:] not in ("-wal", "-shm")]
    assert aside.read_bytes()[100:] == harmed[100:]  # opening it may have touched the header
    assert opened(tmp_path) == (3, "")


@DAMAGES
def test_without_a_copy_the_journal_begins_empty_and_says_so(tmp_path: Path, harm: object) -> None:
    assert callable(harm)
    harm(journal_with(tmp_path, 30))
    jobs, told = opened(tmp_path)
    assert jobs == 0
    assert "there is no sound backup" in told


@pytest.mark.parametrize("empty", [False, True])
def test_a_journal_that_vanished_is_restored_too(tmp_path: Path, empty: bool) -> None:
    path = journal_with(tmp_path, 4)
    with Journal(path) as journal:
        back_up(journal, tmp_path, 7, DAY)
    path.unlink()
    if empty:
        path.touch()
    jobs, told = opened(tmp_path)
    assert (jobs, "missing or empty" in told) == (4, True)


def test_the_log_of_the_damaged_journal_is_not_played_into_the_restored_one(tmp_path: Path) -> None:
    path = journal_with(tmp_path, 2)
    with Journal(path) as journal:
        back_up(journal, tmp_path, 7, DAY)
    with Journal(path) as journal:
        enqueue(journal, 50, first=2)
        shutil.copyfile(tmp_path / "journal.db-wal", tmp_path / "left.wal")
    (tmp_path / "left.wal").rename(tmp_path / "journal.db-wal")
    path.unlink()
    assert opened(tmp_path)[0] == 2
    assert opened(tmp_path) == (2, "")


def test_two_damages_on_one_day_keep_both_files(tmp_path: Path) -> None:
    for _ in range(2):
        overwrite(journal_with(tmp_path, 1))
        opened(tmp_path)
    assert len(list(tmp_path.glob("journal.db.damaged-*"))) == 2


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "smb3", "fuse.sshfs"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(Unavailable, match=f"{kind} cannot hold the journal"):
        open_or_recover(tmp_path, kind=kind)
    assert list(tmp_path.iterdir()) == []


def test_a_locked_journal_is_not_taken_for_a_damaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = journal_with(tmp_path, 1)
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: real(*args, **{**options, "timeout": 0}))
    other = real(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(Unavailable, match="locked"):
            open_or_recover(tmp_path)
    finally:
        other.close()
    assert opened(tmp_path) == (1, "")
