"""The journal's tables, as migrations: each runs once, in one transaction with the note that it ran."""

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

migrations = Migrations("journal")

LIVE_STATES = "('queued', 'held', 'running', 'publishing')"


def of_the_future(db: Database) -> list[str]:
    """Return the migrations that ran and that this Darkroom does not know: what they changed, it would get wrong."""
    known = {migration.name for migration in migrations.pending(Database(memory=True))}
    return [migration.name for migration in migrations.applied(db) if migration.name not in known]


@migrations()
def jobs_events_holds(db: Database) -> None:
    """Jobs, what happened to them, and what a person has put on hold."""
    db.execute(
        """
        CREATE TABLE jobs (
            id            INTEGER PRIMARY KEY AUTOINCREMENT,
            folder        TEXT NOT NULL,
            pipeline      TEXT NOT NULL,
            path          BLOB NOT NULL,                -- below the inbox, as the file system spells it
            size_bytes    INTEGER NOT NULL,
            mtime_ns      INTEGER NOT NULL,
            inode         INTEGER NOT NULL,
            sidecar       TEXT NOT NULL DEFAULT '',     -- its signature, '' without one
            content       TEXT NOT NULL DEFAULT '',     -- fingerprint of the content
            twin          INTEGER,                      -- held until this job of the same content has ended
            options       TEXT NOT NULL DEFAULT '{}',   -- overrides from the sidecar, JSON
            priority      INTEGER NOT NULL DEFAULT 0,
            state         TEXT NOT NULL,
            reason        TEXT NOT NULL DEFAULT '',
            ask           TEXT NOT NULL DEFAULT '',     -- what a person wants of a running job: cancel, hold
            created       REAL NOT NULL,                -- Unix seconds, for people
            started       REAL,
            ended         REAL,
            attempts      INTEGER NOT NULL DEFAULT 0,   -- claims in all
            failures      INTEGER NOT NULL DEFAULT 0,   -- tries in a row that may pass
            crashes       INTEGER NOT NULL DEFAULT 0,   -- of the worker, in a row, at crash_segment
            crash_segment INTEGER,
            not_before    REAL NOT NULL DEFAULT 0,      -- boot-time seconds; void after a restart
            boot          TEXT NOT NULL DEFAULT '',     -- boot id at the claim
            result        BLOB NOT NULL DEFAULT x'',    -- below the outbox, once publishing begins
            result_size   INTEGER NOT NULL DEFAULT 0,
            result_sha256 TEXT NOT NULL DEFAULT ''
        )
        """
    )
    db.execute(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, job INTEGER NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,"
        " at REAL NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL)"
    )
    db.execute("CREATE TABLE holds (scope TEXT PRIMARY KEY, since REAL NOT NULL, reason TEXT NOT NULL)")
    db.execute(f"CREATE UNIQUE INDEX one_live_job_a_path ON jobs (folder, path) WHERE state IN {LIVE_STATES}")
    db.execute("CREATE INDEX next_job ON jobs (priority DESC, id) WHERE state = 'queued'")
    db.execute("CREATE INDEX oldest_job ON jobs (id) WHERE state = 'queued'")
    # The list as `Journal.jobs` spells it: SQLite takes no partial index for the same list in another order.
    db.execute("CREATE INDEX busy_jobs ON jobs (id) WHERE state IN ('publishing', 'running')")
    db.execute("CREATE INDEX twins ON jobs (twin) WHERE state = 'held' AND twin IS NOT NULL")
    db.execute("CREATE INDEX by_state ON jobs (folder, state)")
    db.execute("CREATE INDEX by_path ON jobs (folder, path, id)")
    db.execute("CREATE INDEX by_content ON jobs (content) WHERE content != ''")
    db.execute("CREATE INDEX by_job ON events (job)")


@migrations()
def companions(db: Database) -> None:
    """The other files of a result that is several: JSON, a list of [path, size, SHA-256]."""
    db.execute("ALTER TABLE jobs ADD COLUMN companions TEXT NOT NULL DEFAULT '[]'")


@migrations()
def takes(db: Database) -> None:
    """Several jobs of one file, each with its place in the list, from 0; and the option that a held job waits for."""
    db.execute("ALTER TABLE jobs ADD COLUMN take INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE jobs ADD COLUMN lacks TEXT NOT NULL DEFAULT ''")
    db.execute("DROP INDEX one_live_job_a_path")
    db.execute(f"CREATE UNIQUE INDEX one_live_job_a_take ON jobs (folder, path, take) WHERE state IN {LIVE_STATES}")
