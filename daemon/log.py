"""Log lines: one for each change of state, as text, with journald's priorities, or as JSON."""

import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Literal

from darkroom.daemon.config import Log
from darkroom.daemon.job import printable

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}  # syslog(3)


class Formatter(logging.Formatter):
    """Writes a record in one of the forms; control characters of file names never reach the terminal raw."""

    def __init__(self, form: Literal["text", "journal", "json"]) -> None:
        """Choose the form."""
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines of a traceback."""
        # Halves of surrogate pairs other than those of odd file names would make the line, and its news, be lost.
        lines = [printable(line.encode(errors="backslashreplace")) for line in super().format(record).splitlines()]
        level = record.levelname.lower()
        if self._form == "json":
            entry = {
                "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
                "level": level,
                "message": "\n".join(lines),
            }
            return json.dumps(entry, ensure_ascii=False)
        if self._form == "journal":
            return "\n".join(f"<{PRIORITIES.get(record.levelno, 5)}>{line}" for line in lines)
        mark = "" if record.levelno == logging.INFO else f"{level}: "
        return f"{self.formatTime(record, '%H:%M:%S')} {mark}" + "\n".join(lines)


def set_up(log: Log, environ: Mapping[str, str] = os.environ) -> None:
    """Send the log to standard error as `log` says."""
    form = ("journal" if _goes_to_journal(environ) else "text") if log.format == "auto" else log.format
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log.level.upper())
    for chatty in ("apscheduler", "pikepdf"):  # they tell of every run and start; we tell of results
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a closed standard error must not stop the work


def _goes_to_journal(environ: Mapping[str, str]) -> bool:
    """Tell whether standard error is the journal's: a shell below a service inherits the variable, not the stream."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False  # closed
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
