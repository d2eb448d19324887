"""The SQLite record of jobs, and the only file that speaks SQL.

Every move of a job is one transaction, legal by `states.MOVES`, and leaves an event row. The
database is in WAL mode with synchronous=FULL: a commit that returned survives a power cut (with
NORMAL, a cut lost 300 of 300 commits). One daemon, its workers and any number of commands share it.
"""

import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

from sqlite_utils import Database

from darkroom.daemon.job import Event, Job, Known, NewJob, Signature
from darkroom.daemon.schema import LIVE_STATES, migrations
from darkroom.daemon.states import LIVE, State, check_move
from darkroom.pipelines.errors import Unavailable

log = logging.getLogger(__name__)

FILE = "journal.db"  # in the state folder
BATCH = 1000  # rows in one transaction: 37,800 rows a second against 221 one by one
EVERYTHING = "*"  # the scope of a hold that concerns all folders


COLUMNS = ", ".join(entry.name for entry in fields(Job))


class Journal:
    """The open journal. Not for use from two threads."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        """Open the journal at `path`, made or migrated if need be.

        Raises sqlite3.DatabaseError if the file is damaged (see `backup.open_or_recover`) and Unavailable if
        another process keeps it locked for over 10 s or, with `readonly`, if there is none.
        """
        self.path = path
        with _unlocked(path):
            target = f"file:{_quoted(path)}?mode={'ro' if readonly else 'rwc'}"
            self._sql = sqlite3.connect(target, uri=True, timeout=10, isolation_level=None, check_same_thread=False)
            self._sql.row_factory = sqlite3.Row
            if not readonly:
                self._sql.execute("PRAGMA journal_mode = WAL")
                self._sql.execute("PRAGMA synchronous = FULL")
                self._sql.execute("PRAGMA foreign_keys = ON")
                if migrations.pending(database := Database(self._sql)):
                    migrations.apply(database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._sql.close()

    # -- what comes in -------------------------------------------------------------------------------------------

    def enqueue(self, arrivals: Sequence[NewJob], now: float) -> list[int]:
        """Record `arrivals` and return their job numbers, in order; a path with a live job gets none.

        A file whose earlier job ended gets a new one: job numbers are never used again.
        """
        made: list[int] = []
        for start in range(0, len(arrivals), BATCH):
            with self._transaction():
                made += [job for new in arrivals[start : start + BATCH] if (job := self._insert(new, now)) is not None]
        return made

    def _insert(self, new: NewJob, now: float) -> int | None:
        sig = new.signature
        row = self._sql.execute(
            "INSERT OR IGNORE INTO jobs (folder, pipeline, path, size_bytes, mtime_ns, inode, sidecar, content,"
            " twin, options, priority, state, reason, created, ended)"
            f" VALUES ({', '.join('?' * 15)}) RETURNING id",
            (
                *(new.folder, new.pipeline, new.path, sig.size_bytes, sig.mtime_ns, sig.inode, new.sidecar),
                *(new.content, new.twin, json.dumps(dict(new.options)), new.priority, new.state, new.reason, now),
                None if new.state in LIVE else now,
            ),
        ).fetchone()
        if row is None:
            return None
        self._event(row["id"], now, "", new.state, new.reason)
        return int(row["id"])

    def known(self, folder: str) -> dict[bytes, Known]:
        """Return the newest job of each path in `folder`."""
        rows = self._sql.execute(
            "SELECT path, max(id) AS id, state, size_bytes, mtime_ns, inode, sidecar FROM jobs WHERE folder = ?"
            " GROUP BY path",
            (folder,),
        )
        return {
            row["path"]: Known(
                job=row["id"],
                state=State(row["state"]),
                signature=Signature(size_bytes=row["size_bytes"], mtime_ns=row["mtime_ns"], inode=row["inode"]),
                sidecar=row["sidecar"],
            )
            for row in rows
        }

    def same_content(self, content: str, folder: str) -> Job | None:
        """Return the oldest job of `folder` with this content that is done or on its way, or None."""
        row = self._sql.execute(
            f"SELECT {COLUMNS} FROM jobs WHERE content = ? AND content != '' AND folder = ?"
            f" AND (state = 'done' OR state IN {LIVE_STATES}) ORDER BY id LIMIT 1",
            (content, folder),
        ).fetchone()
        return _job(row) if row else None

    def freed_twins(self) -> list[Job]:
        """Return the jobs that are held because of another of the same content which has ended."""
        names = ", ".join(f"jobs.{entry.name}" for entry in fields(Job))
        rows = self._sql.execute(
            f"SELECT {names} FROM jobs JOIN jobs AS twin ON twin.id = jobs.twin"
            f" WHERE jobs.state = 'held' AND jobs.twin IS NOT NULL AND twin.state NOT IN {LIVE_STATES} ORDER BY jobs.id"
        )
        return [_job(row) for row in rows]

    # -- moves ---------------------------------------------------------------------------------------------------

    def claim(
        self, folders: Sequence[str], *, now: float, uptime: float, boot: str, oldest: bool = False
    ) -> Job | None:
        """Mark the next queued job of `folders` as running and return it, or None.

        One statement: two workers never get the same job. Its attempt is counted here, so that a crash of the
        whole machine counts.

        now:     Unix seconds, for people;  uptime: boot-time seconds, compared with `not_before`
        oldest:  take the oldest job whatever its priority, so that none waits for ever
        """
        marks = ", ".join("?" * len(folders))
        order = "id" if oldest else "priority DESC, id"
        with self._transaction():
            row = self._sql.execute(
                "UPDATE jobs SET state = 'running', reason = '', ask = '', attempts = attempts + 1, started = ?,"
                " boot = ? WHERE id = (SELECT id FROM jobs"
                f" WHERE state = 'queued' AND folder IN ({marks}) AND not_before <= ? ORDER BY {order} LIMIT 1)"
                f" RETURNING {COLUMNS}",
                (now, boot, *folders, uptime),
            ).fetchone()
            if row is None:
                return None
            self._event(row["id"], now, State.QUEUED, State.RUNNING, f"attempt {row['attempts']}")
        return _job(row)

    def move(self, job: int, new: State, reason: str, *, now: float, detail: str = "", **columns: Any) -> Job:
        """Bring `job` to the state `new` with its reason, setting `columns`, and return it.

        detail: what only `darkroom show` prints, such as a traceback.
        Raises IllegalMove, and KeyError if there is no such job.
        """
        with self._transaction():
            old = self.job(job).state
            check_move(job, old, new)
            changes = {"state": new, "reason": reason, "ask": "", **columns}
            changes["ended"] = None if new in LIVE else now
            names = ", ".join(f"{name} = ?" for name in changes)
            self._sql.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*changes.values(), job))
            self._event(job, now, old, new, reason, detail)
            return self.job(job)

    def retry(self, job: int, *, now: float) -> Job:
        """Queue an ended job again, as if it were new; its finished parts are used. Raises IllegalMove."""
        fresh: dict[str, Any] = {
            "failures": 0,
            "crashes": 0,
            "crash_segment": None,
            "not_before": 0,
            "result": b"",
            "result_sha256": "",
        }
        return self.move(job, State.QUEUED, "asked to try again", now=now, **fresh)

    def note(self, job: int, **columns: Any) -> None:
        """Set columns that are not a move, such as `failures` or `ask`."""
        names = ", ".join(f"{name} = ?" for name in columns)
        with self._transaction():
            self._sql.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*columns.values(), job))

    def forget_delays(self) -> None:
        """Let every queued job start now: the boot-time clock its delay was measured with may be another."""
        with self._transaction():
            self._sql.execute("UPDATE jobs SET not_before = 0 WHERE not_before > 0")

    def forget(self, jobs: Iterable[int]) -> None:
        """Delete the rows of ended `jobs` and their events."""
        with self._transaction():
            self._sql.executemany(
                f"DELETE FROM jobs WHERE id = ? AND state NOT IN {LIVE_STATES}", [(job,) for job in jobs]
            )

    def hold(self, scope: str, reason: str, *, now: float) -> None:
        """Let no job of the folder `scope` (or EVERYTHING) start until `release`."""
        with self._transaction():
            self._sql.execute("INSERT OR REPLACE INTO holds VALUES (?, ?, ?)", (scope, now, reason))

    def release(self, scope: str) -> bool:
        """Undo `hold`; tell whether there was one."""
        with self._transaction():
            return self._sql.execute("DELETE FROM holds WHERE scope = ?", (scope,)).rowcount > 0

    # -- reading -------------------------------------------------------------------------------------------------

    def job(self, job: int) -> Job:
        """Return one job. Raises KeyError."""
        row = self._sql.execute(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (job,)).fetchone()
        if row is None:
            raise KeyError(f"there is no job {job}")
        return _job(row)

    def jobs(
        self, *, states: Iterable[State] = (), folder: str | None = None, limit: int = -1, newest: bool = False
    ) -> list[Job]:
        """Return jobs by number, all or those in `states` and of `folder`."""
        wanted = list(states)
        where = ["1"] + ([f"state IN ({', '.join('?' * len(wanted))})"] if wanted else [])
        where += ["folder = ?"] if folder is not None else []
        values: list[Any] = [*wanted, *([folder] if folder is not None else []), limit]
        order = "id DESC" if newest else "id"
        rows = self._sql.execute(
            f"SELECT {COLUMNS} FROM jobs WHERE {' AND '.join(where)} ORDER BY {order} LIMIT ?", values
        )
        return [_job(row) for row in rows]

    def waiting(self, folders: Sequence[str]) -> int:
        """Return the number of queued jobs of `folders`, those that wait for their next try included."""
        marks = ", ".join("?" * len(folders))
        row = self._sql.execute(
            f"SELECT count(*) FROM jobs WHERE state = 'queued' AND folder IN ({marks})", list(folders)
        ).fetchone()
        return int(row[0])

    def next_jobs(self, limit: int) -> list[Job]:
        """Return the queued jobs in the order in which they will be claimed."""
        rows = self._sql.execute(
            f"SELECT {COLUMNS} FROM jobs WHERE state = 'queued' ORDER BY priority DESC, id LIMIT ?", (limit,)
        )
        return [_job(row) for row in rows]

    def events(self, job: int) -> list[Event]:
        """Return what happened to `job`, oldest first."""
        rows = self._sql.execute("SELECT at, old, new, reason, detail FROM events WHERE job = ? ORDER BY id", (job,))
        return [Event(**dict(row)) for row in rows]

    def counts(self) -> dict[tuple[str, State], int]:
        """Return the number of jobs by folder and state."""
        rows = self._sql.execute("SELECT folder, state, count(*) AS n FROM jobs GROUP BY folder, state")
        return {(row["folder"], State(row["state"])): row["n"] for row in rows}

    def holds(self) -> dict[str, str]:
        """Return the reason of each hold by its scope."""
        return {row["scope"]: row["reason"] for row in self._sql.execute("SELECT scope, reason FROM holds")}

    def ended_since(self, event: int) -> dict[State, int]:
        """Return the number of ended jobs by state whose last event is younger than number `event`."""
        rows = self._sql.execute(
            f"SELECT state, count(*) AS n FROM jobs WHERE state NOT IN {LIVE_STATES}"
            " AND id IN (SELECT job FROM events WHERE id > ?) GROUP BY state",
            (event,),
        )
        return {State(row["state"]): row["n"] for row in rows}

    def last_event(self) -> int:
        """Return the number of the newest event, 0 if there is none."""
        return int(self._sql.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0])

    def changes_by_others(self) -> int:
        """Return a number that differs once another connection has written."""
        return int(self._sql.execute("PRAGMA data_version").fetchone()[0])

    def damage(self) -> str:
        """Return what `quick_check` finds, '' if the file is sound."""
        found = str(self._sql.execute("PRAGMA quick_check(1)").fetchone()[0])
        return "" if found == "ok" else found

    def copy_to(self, target: Path) -> None:
        """Write a compact, consistent copy of the journal to `target`, which must not exist."""
        self._sql.execute("VACUUM INTO ?", (os.fspath(target),))

    # -- inside --------------------------------------------------------------------------------------------------

    def _event(self, job: int, at: float, old: str, new: str, reason: str, detail: str = "") -> None:
        self._sql.execute(
            "INSERT INTO events (job, at, old, new, reason, detail) VALUES (?, ?, ?, ?, ?, ?)",
            (job, at, old, new, reason, detail),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _unlocked(self.path):
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._sql.execute("COMMIT")
            except BaseException:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
                raise


@contextmanager
def _unlocked(path: Path) -> Iterator[None]:
    """Say in one line what keeps the journal from being used."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Unavailable(f"{path}: {error}; is the disk full, or the file locked or not yours?") from error


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    values["options"] = json.loads(values["options"])
    values["state"] = State(values["state"])
    return Job(**values)


def _quoted(path: Path) -> str:
    return os.fspath(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
