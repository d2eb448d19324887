"""What SQLite raises, as outcomes that the daemon can answer: the journal cannot be used for now, or is damaged"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.pipelines.errors import Unavailable


class Damaged(Unavailable):
    """The journal is damaged: waiting does not mend it, but the daemon's next start does."""


@contextmanager
def answerable(path: Path) -> Iterator[None]:
    """Say in one line what keeps the journal at `path` from being used. Raises Unavailable, Damaged."""
    try:
        yield
    except sqlite3.OperationalError as error:
        remedy = "is the disk full, or the file locked or not yours?"
        if "no such" in str(error):  # column, table: a reader changes none of them
            remedy = "another Darkroom has written it; start this one's daemon, which brings it up to date"
        raise Unavailable(f"{path}: {error}; {remedy}") from error
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:
            raise  # a constraint that does not hold, or wrong SQL: a bug
        remedy = "the next start of `darkroom run` repairs it: restart the daemon"
        raise Damaged(f"{path}: the journal is damaged ({error}); {remedy}") from error
