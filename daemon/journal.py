"""The SQLite record of jobs, and the only file that speaks SQL.

Every move of a job is one transaction, legal by `states.MOVES`, and leaves an event row. The
database is in WAL mode with synchronous=FULL: a commit that returned survives a power cut (with
NORMAL, a cut lost 300 of 300 commits). One daemon, its workers and any number of commands share it.
"""

import fcntl
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, Self

from darkroom.daemon.crash_points import CrashPoint, reach
from darkroom.daemon.filesystem import opened_folder
from darkroom.daemon.job import Event, Job, Known, NewJob, job_of, known_of, options_text, row_of
from darkroom.daemon.sqlite_faults import answerable
from darkroom.daemon.states import LIVE, IllegalMove, State, check_move
from darkroom.pipelines.errors import Unavailable

FILE = "journal.db"  # in the state folder
EVERYTHING = "*"  # the scope of a hold that concerns all folders
PATIENCE_S = 10.0  # how long another process may keep the journal locked
COLUMNS = ", ".join(entry.name for entry in fields(Job))
LIVE_STATES = f"({', '.join(repr(str(state)) for state in State if state in LIVE)})"


class Journal:
    """The open journal. Not for use from two threads."""

    def __init__(self, path: Path, *, readonly: bool = False, patience_s: float = PATIENCE_S) -> None:
        """Open the journal at `path`, made or migrated if need be.

        patience_s: how long to wait, here and in each call, for another process that has it locked
        Raises Damaged (see `backup.open_or_recover`), and Unavailable if it stays locked for longer or, with
        `readonly`, if there is none. Every method raises both likewise.
        """
        self.path = path
        target = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rwc'}"
        with answerable(path):
            self._sql = sqlite3.connect(target, uri=True, timeout=patience_s, isolation_level=None)
            self._sql.row_factory = sqlite3.Row
            try:
                if not readonly:
                    self._prepare()
            except BaseException:
                self.close()
                raise

    def _prepare(self) -> None:
        # sqlite-utils brings numpy, where that is installed: 0.15 s that no reader shall wait for.
        from sqlite_utils import Database

        from darkroom.daemon.schema import migrations, of_the_future

        self._sql.execute("PRAGMA synchronous = FULL")
        self._sql.execute("PRAGMA foreign_keys = ON")
        database = Database(self._sql)
        if newer := of_the_future(database):
            raise Unavailable(f"{self.path}: a newer Darkroom has changed it ({newer[-1]}); install that one again")
        in_wal = self._sql.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        if not in_wal or migrations.pending(database):
            # SQLite does not wait for its own locks when it changes to WAL: of four first opens at once two failed.
            with opened_folder(self.path.parent) as folder:
                fcntl.flock(folder, fcntl.LOCK_EX)
                self._sql.execute("PRAGMA journal_mode = WAL")
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
        """Record `arrivals`, all or none of them, and return their job numbers, in order.

        The takes of a path follow each other; a path with a live job gets none. A file whose earlier jobs ended gets
        new ones: job numbers are never used again. 37,800 rows a second together, 221 one by one.
        """
        made: list[int] = []
        with self._transaction():
            for (folder, path), takes in groupby(arrivals, attrgetter("folder", "path")):
                if not self._is_taken(folder, path):
                    made += [job for new in takes if (job := self._insert(new, now)) is not None]
        return made

    def _is_taken(self, folder: str, path: bytes, batch: int = 0) -> bool:
        """Tell whether `path` has a live job, those of `batch` apart."""
        query = f"SELECT 1 FROM jobs WHERE folder = ? AND path = ? AND state IN {LIVE_STATES} AND id - take != ?"
        return bool(self._read(f"{query} LIMIT 1", (folder, path, batch)))

    def _insert(self, new: NewJob, now: float) -> int | None:
        values = {**row_of(new), "created": now, "ended": None if new.state in LIVE else now}
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        query = f"INSERT OR IGNORE INTO jobs ({names}) VALUES ({marks}) RETURNING id"
        row = self._sql.execute(query, [*values.values()]).fetchone()
        if row is None:
            return None
        self._event(row["id"], now, "", new.state, new.reason)
        return int(row["id"])

    def known(self, folder: str) -> dict[bytes, Known]:
        """Return the newest jobs of each path in `folder`."""
        columns = "path, id, take, state, size_bytes, mtime_ns, inode, sidecar"
        rows = self._read(f"SELECT {columns} FROM jobs WHERE folder = ? ORDER BY path, id", (folder,))
        return {path: known_of([*map(dict, own)]) for path, own in groupby(rows, itemgetter("path"))}

    def batch(self, job: Job) -> list[Job]:
        """Return the jobs that were recorded together with `job`, which is one of them."""
        query = f"SELECT {COLUMNS} FROM jobs WHERE folder = ? AND path = ? AND id - take = ? ORDER BY id"
        return self._jobs(query, (job.folder, job.path, job.batch))

    def same_content(self, content: str, folder: str, options: Mapping[str, Any]) -> Job | None:
        """Return the oldest job of `folder` with this content and these options that is done or on its way, or None.

        One that itself waits, for another of the same content or for an option it lacks, is not meant.
        """
        found = self._jobs(
            f"SELECT {COLUMNS} FROM jobs WHERE content = ? AND content != '' AND folder = ? AND options = ?"
            f" AND twin IS NULL AND lacks = '' AND (state = 'done' OR state IN {LIVE_STATES}) ORDER BY id LIMIT 1",
            (content, folder, options_text(options)),
        )
        return found[0] if found else None

    def freed_twins(self) -> list[Job]:
        """Return the jobs that are held because of another of the same content which has ended or is forgotten."""
        names = ", ".join(f"jobs.{entry.name}" for entry in fields(Job))
        return self._jobs(
            f"SELECT {names} FROM jobs INDEXED BY twins LEFT JOIN jobs AS twin ON twin.id = jobs.twin"
            " WHERE jobs.state = 'held' AND jobs.twin IS NOT NULL"
            f" AND (twin.id IS NULL OR twin.state NOT IN {LIVE_STATES}) ORDER BY jobs.id"
        )

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
        marks = ", ".join("?" * len(folders)) or "NULL"
        # Left to itself SQLite takes the index by folder, and sorts all that is queued for each claim.
        index, order = ("oldest_job", "id") if oldest else ("next_job", "priority DESC, id")
        with self._transaction():
            row = self._sql.execute(
                "UPDATE jobs SET state = 'running', reason = '', ask = '', attempts = attempts + 1, started = ?,"
                f" boot = ? WHERE id = (SELECT id FROM jobs INDEXED BY {index} WHERE state = 'queued'"
                f" AND folder IN ({marks}) AND not_before <= ? ORDER BY {order} LIMIT 1) RETURNING {COLUMNS}",
                (now, boot, *folders, uptime),
            ).fetchone()
            if row is None:
                return None
            self._event(row["id"], now, State.QUEUED, State.RUNNING, f"attempt {row['attempts']}")
        return job_of(dict(row))

    def move(
        self,
        job: int,
        new: State,
        reason: str,
        *,
        now: float,
        detail: str = "",
        expected: Collection[State] = frozenset(State),
        **columns: Any,
    ) -> Job:
        """Bring `job` to the state `new` with its reason, setting `columns`, and return it.

        detail:    what only `darkroom show` prints, such as a traceback
        expected:  the states to move from; for who is not the daemon, and may come a moment too late
        Raises IllegalMove, and KeyError if there is no such job.
        """
        with self._transaction():
            before = self.job(job)
            check_move(job, before.state, new, expected)
            if before.state not in LIVE and self._is_taken(before.folder, before.path, before.batch):
                raise IllegalMove(f"job {job} cannot become {new}: a newer job has its file now")
            changes = {"state": new, "reason": reason, "ask": "", "twin": None, "lacks": "", **columns}
            changes["ended"] = None if new in LIVE else now
            names = ", ".join(f"{name} = ?" for name in changes)
            self._sql.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*changes.values(), job))
            self._event(job, now, before.state, new, reason, detail)
            return self.job(job)

    def retry(self, job: int, *, now: float) -> Job:
        """Queue an ended job again, as if it were new; its finished parts are used. Raises IllegalMove."""
        fresh: dict[str, Any] = {"failures": 0, "crashes": 0, "crash_segment": None, "not_before": 0}
        if self.job(job).state is not State.FAILED:  # some files of that one's result may be in the outbox
            fresh |= {"result": b"", "result_size": 0, "result_sha256": "", "companions": "[]"}
        return self.move(job, State.QUEUED, "asked to try again", now=now, **fresh)

    def ask(self, job: int, wish: str) -> bool:
        """Leave the wish "cancel" or "hold" for the daemon that runs `job`; False if none runs it now."""
        with self._transaction():
            asked = self._sql.execute("UPDATE jobs SET ask = ? WHERE id = ? AND state = 'running'", (wish, job))
            return asked.rowcount > 0

    def note(self, job: int, **columns: Any) -> None:
        """Set columns that are not a move, such as `failures` or `ask`."""
        names = ", ".join(f"{name} = ?" for name in columns)
        with self._transaction():
            self._sql.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*columns.values(), job))

    def forget_delays(self, boot: str) -> None:
        """Let the queued jobs that did not run in this `boot` start now: another clock measured their delays."""
        with self._transaction():
            self._sql.execute("UPDATE jobs SET not_before = 0 WHERE not_before > 0 AND boot != ?", (boot,))

    def forget(self, jobs: Iterable[int]) -> None:
        """Delete the rows of ended `jobs` and their events."""
        with self._transaction():
            ended = f"id = ? AND state NOT IN {LIVE_STATES}"
            self._sql.executemany(f"DELETE FROM jobs WHERE {ended}", [(job,) for job in jobs])

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
        if found := self._jobs(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (job,)):
            return found[0]
        raise KeyError(f"there is no job {job}")

    def jobs(
        self, *, states: Iterable[State] = (), folder: str | None = None, limit: int = -1, newest: bool = False
    ) -> list[Job]:
        """Return jobs by number, all or those in `states` and of `folder`."""
        wanted = ", ".join(f"'{State(state)}'" for state in sorted(states))  # spelled out, for the partial indexes
        where = ["1", *([f"state IN ({wanted})"] if wanted else []), *(["folder = ?"] if folder is not None else [])]
        values: list[Any] = [*([folder] if folder is not None else []), limit]
        order = "id DESC" if newest else "id"
        return self._jobs(f"SELECT {COLUMNS} FROM jobs WHERE {' AND '.join(where)} ORDER BY {order} LIMIT ?", values)

    def waiting(self, folders: Sequence[str], uptime: float) -> int:
        """Return the number of queued jobs of `folders`, but for those that at `uptime` wait without counting tries."""
        where = f"folder IN ({', '.join('?' * len(folders))}) AND NOT (failures = 0 AND not_before > ?)"
        rows = self._read(f"SELECT count(*) FROM jobs WHERE state = 'queued' AND {where}", (*folders, uptime))
        return int(rows[0][0])

    def next_jobs(self, limit: int) -> list[Job]:
        """Return the queued jobs in the order in which they will be claimed."""
        return self._jobs(
            f"SELECT {COLUMNS} FROM jobs INDEXED BY next_job WHERE state = 'queued' ORDER BY priority DESC, id LIMIT ?",
            (limit,),
        )

    def events(self, job: int) -> list[Event]:
        """Return what happened to `job`, oldest first."""
        rows = self._read("SELECT at, old, new, reason, detail FROM events WHERE job = ? ORDER BY id", (job,))
        return [Event(**dict(row)) for row in rows]

    def counts(self) -> dict[tuple[str, State], int]:
        """Return the number of jobs by folder and state."""
        rows = self._read("SELECT folder, state, count(*) AS n FROM jobs GROUP BY folder, state")
        return {(row["folder"], State(row["state"])): row["n"] for row in rows}

    def holds(self) -> dict[str, str]:
        """Return the reason of each hold by its scope."""
        return {row["scope"]: row["reason"] for row in self._read("SELECT scope, reason FROM holds")}

    def ended_since(self, event: int) -> dict[State, int]:
        """Return the number of ended jobs by state whose last event is younger than number `event`."""
        rows = self._read(
            f"SELECT state, count(*) AS n FROM jobs WHERE state NOT IN {LIVE_STATES}"
            " AND id IN (SELECT job FROM events WHERE id > ?) GROUP BY state",
            (event,),
        )
        return {State(row["state"]): row["n"] for row in rows}

    def last_event(self) -> int:
        """Return the number of the newest event, 0 if there is none."""
        return int(self._read("SELECT coalesce(max(id), 0) FROM events")[0][0])

    def progress(self) -> tuple[int, int]:
        """Return how far the journal has come, whatever the clock says: the newest job that ever was, and event."""
        newest = self._read("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'jobs'")
        return int(newest[0][0]), self.last_event()

    def damage(self) -> str:
        """Return what `quick_check` finds, '' if the file is sound."""
        found = str(self._read("PRAGMA quick_check(1)")[0][0])
        return "" if found == "ok" else found

    def copy_to(self, target: Path) -> None:
        """Write a compact, consistent copy of the journal to `target`, which must not exist."""
        self._read("VACUUM INTO ?", (os.fspath(target),))

    # -- inside --------------------------------------------------------------------------------------------------

    def _event(self, job: int, at: float, old: str, new: str, reason: str, detail: str = "") -> None:
        values = (job, at, old, new, reason, detail)
        self._sql.execute("INSERT INTO events (job, at, old, new, reason, detail) VALUES (?, ?, ?, ?, ?, ?)", values)

    def _jobs(self, query: str, values: Sequence[Any] = ()) -> list[Job]:
        return [job_of(dict(row)) for row in self._read(query, values)]

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with answerable(self.path):
            return self._sql.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with answerable(self.path):
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
                reach(CrashPoint.COMMIT_DUE)
                self._sql.execute("COMMIT")
            except BaseException:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
                raise
            reach(CrashPoint.COMMITTED)
