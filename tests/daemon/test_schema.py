import shutil
import sqlite3
from contextlib import closing
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from killing import die, in_child
from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from darkroom.daemon.backup import open_or_recover
from darkroom.daemon.journal import Journal
from darkroom.daemon.schema import LIVE_STATES, migrations, of_the_future
from darkroom.daemon.states import LIVE
from darkroom.pipelines.errors import Unavailable


def dump(path: Path) -> list[str]:
    with sqlite3.connect(path) as sql:
        return list(sql.iterdump())


def test_a_second_migration_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal(path).close()
    first = dump(path)
    Journal(path).close()
    with sqlite3.connect(path) as sql:
        migrations.apply(Database(sql))
    assert dump(path) == first and any("CREATE TABLE jobs" in line for line in first)


def test_a_migration_cut_off_in_the_middle_leaves_nothing_and_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, original = tmp_path / "journal.db", Database.execute

    def fail_late(self: Database, sql: str, *arguments: Any) -> Any:
        if "CREATE INDEX by_job" in sql:
            raise KeyboardInterrupt
        return original(self, sql, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "execute", fail_late)
        with pytest.raises(KeyboardInterrupt):
            Journal(path)
    assert not any("CREATE TABLE jobs" in line for line in dump(path))
    with Journal(path) as journal:
        assert journal.counts() == {}


def open_one(path: str, start: Any, said: Any) -> None:
    start.wait()
    try:
        with Journal(Path(path)) as journal:
            said.put(journal.last_event())
    except Exception as error:
        said.put(repr(error))


def test_processes_that_open_a_new_journal_at_once_all_succeed(tmp_path: Path) -> None:
    context = get_context("fork")
    for round_ in range(5):
        start, said = context.Barrier(4), context.SimpleQueue()
        path = str(tmp_path / f"{round_}.db")
        all_four = [context.Process(target=open_one, args=(path, start, said)) for _ in range(4)]
        for process in all_four:
            process.start()
        assert [said.get() for _ in all_four] == [0] * 4
        for process in all_four:
            process.join()


def test_live_states_are_those_of_the_table_of_moves() -> None:
    assert {name.strip(" '") for name in LIVE_STATES.strip("()").split(",")} == set(LIVE)


def test_a_journal_from_before_results_of_several_files_is_brought_up_with_its_jobs(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as sql:
        migrations.apply(Database(sql), stop_before="companions")
        sql.execute(
            "INSERT INTO jobs (folder, pipeline, path, size_bytes, mtime_ns, inode, state, created, result)"
            " VALUES ('films', 'upscale', x'61', 1, 2, 3, 'done', 1.0, x'62')"
        )
    with Journal(path) as journal:
        assert (journal.job(1).result, journal.job(1).companions) == (b"b", ())


def test_a_journal_from_before_batches_is_brought_up_with_its_jobs_each_a_batch_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as sql:
        migrations.apply(Database(sql), stop_before="takes")
        for name, state in (("61", "done"), ("61", "queued"), ("62", "held")):
            sql.execute(
                "INSERT INTO jobs (folder, pipeline, path, size_bytes, mtime_ns, inode, state, created)"
                f" VALUES ('films', 'upscale', x'{name}', 1, 2, 3, '{state}', 1.0)"
            )
    with Journal(path) as journal:
        jobs = journal.jobs()
        assert [(job.take, job.lacks, job.batch) for job in jobs] == [(0, "", 1), (0, "", 2), (0, "", 3)]
        assert [journal.batch(job) for job in jobs] == [[job] for job in jobs]
        assert journal.known("films")[b"a"].live == ((2, "queued"),)
    assert "one_live_job_a_path" not in "".join(dump(path))


def as_a_newer_darkroom_left_it(path: Path) -> None:
    newer = Migrations(migrations.name)

    @newer()
    def colours(db: Database) -> None:
        db.execute("ALTER TABLE jobs ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'")

    Journal(path).close()
    with sqlite3.connect(path) as sql:
        newer.apply(Database(sql))


def test_a_journal_of_a_newer_darkroom_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    as_a_newer_darkroom_left_it(path)
    before = dump(path)
    with sqlite3.connect(path) as sql:
        assert of_the_future(Database(sql)) == ["colours"]
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"journal\.db: a newer Darkroom has changed it \(colours\); install"):
            open_or_recover(tmp_path)
    assert dump(path) == before and not list(tmp_path.glob("*damaged*"))


def test_a_reader_that_is_newer_than_the_daemon_says_so_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as sql:
        sql.execute("PRAGMA journal_mode = WAL")
        migrations.apply(Database(sql), stop_before="takes")
    before = dump(path)
    with (
        Journal(path, readonly=True) as journal,
        pytest.raises(Unavailable, match=r"no such column.*start this one's daemon, which brings it up to date"),
    ):
        journal.jobs()
    assert dump(path) == before


def dies_at(statement: int, path: Path) -> bool:
    """Open the journal at `path` in a child that is killed before SQLite runs its statement of this number."""
    left, connect = iter(range(statement)), sqlite3.connect

    def count_down(_: str) -> None:
        if next(left, None) is None:
            die()

    def connect_and_count(*arguments: Any, **options: Any) -> sqlite3.Connection:
        sql: sqlite3.Connection = connect(*arguments, **options)
        sql.set_trace_callback(count_down)
        return sql

    def work() -> None:
        sqlite3.connect = connect_and_count  # type: ignore[assignment]
        Journal(path).close()

    return not in_child(work)


def shape(path: Path) -> list[str]:
    """Return what is in the journal, but for when its migrations ran."""
    return [line for line in dump(path) if "applied_at" in line or "_sqlite_migrations" not in line]


@pytest.mark.parametrize("begun", ["companions", None])
def test_killed_before_any_statement_of_a_migration_the_next_start_completes_it(
    tmp_path: Path, begun: str | None
) -> None:
    """From nothing, and from a journal of the first Darkroom, with a job in it."""
    old, calm = tmp_path / "old.db", tmp_path / "calm.db"
    with closing(sqlite3.connect(old)) as sql:
        if begun:
            migrations.apply(Database(sql), stop_before=begun)
            columns = "folder, pipeline, path, size_bytes, mtime_ns, inode, state, created"
            sql.execute(f"INSERT INTO jobs ({columns}) VALUES ('films', 'upscale', x'61', 1, 2, 3, 'queued', 1.0)")
            sql.commit()
    shutil.copy(old, calm)
    Journal(calm).close()
    for statement in count():
        path = tmp_path / f"{statement}.db"
        shutil.copy(old, path)
        alive = not dies_at(statement, path)
        dies_at(statement // 2, path)  # once more, elsewhere, over what the first kill left
        with Journal(path) as journal:
            assert [job.path for job in journal.jobs()] == ([b"a"] if begun else [])
            assert journal.damage() == ""
        assert shape(path) == shape(calm)
        if alive:
            break
    print(f"killed at {statement} statements")
    assert statement > 5
