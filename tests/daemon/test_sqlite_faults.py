import sqlite3
from pathlib import Path

import pytest

from darkroom.daemon.sqlite_faults import Damaged, answerable
from darkroom.pipelines.errors import Unavailable

PATH = Path("/state/journal.db")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            sqlite3.OperationalError("disk I/O error"),
            "disk I/O error; is the disk full, or the file locked or not yours?",
        ),
        (sqlite3.OperationalError("no such column: x"), "no such column: x; another Darkroom has written it; "),
    ],
)
def test_what_may_pass_is_unavailable(error: Exception, words: str) -> None:
    with pytest.raises(Unavailable) as raised, answerable(PATH):
        raise error
    assert str(raised.value).startswith(f"{PATH}: {words}")
    assert not isinstance(raised.value, Damaged) and raised.value.__cause__ is error


def test_a_damaged_journal_is_told_from_one_that_is_away(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"SQLite format 3\0" + bytes(5000))
    words = r"the journal is damaged \(.*\); the next start"
    with sqlite3.connect(path) as sql, pytest.raises(Damaged, match=words), answerable(path):
        sql.execute("SELECT * FROM jobs").fetchall()


@pytest.mark.parametrize("bug", [sqlite3.IntegrityError("NOT NULL"), sqlite3.ProgrammingError("closed"), KeyError(1)])
def test_a_bug_is_not_dressed_up(bug: Exception) -> None:
    with pytest.raises(type(bug)), answerable(PATH):
        raise bug
