"""Log lines: one for each change of state, as text, with journald's priorities, or as JSON."""

import json
import logging
import os
import select
import sys
from collections.abc import Mapping
from typing import IO, Literal

from darkroom.daemon.config import Log
from darkroom.daemon.job import printable

STUCK_S = 1.0  # a reader that takes nothing for so long has stopped, and is waited for no more
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
        # Indented, so that no line of a message passes for one of the log, nor for one with a priority of its own.
        return f"{self.formatTime(record, '%H:%M:%S')} {mark}" + "\n    ".join(lines)


class Writer(logging.StreamHandler[IO[str]]):
    """Writes where there is room: a reader that has stopped (a paused pager, a hung journald) costs lines, not work."""

    def __init__(self, stream: IO[str], stuck_s: float = STUCK_S) -> None:
        """Write to `stream`; whoever reads it may pause for `stuck_s` before lines are lost."""
        super().__init__(stream)
        self.lost = 0  # lines since there was room last
        self._stuck_s = stuck_s

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or count it as lost."""
        try:
            if not self._has_room():
                self.lost += 1
                return
            if lost := self.lost:
                self.lost = 0
                self._write(logging.LogRecord("", logging.WARNING, "", 0, "%d lines were lost here", (lost,), None))
            self._write(record)
        except Exception:
            self.handleError(record)

    def _write(self, record: logging.LogRecord) -> None:
        text = self.format(record) + "\n"
        step = select.PIPE_BUF // 10  # room in a pipe is room for PIPE_BUF bytes; a character has ten at most, escaped
        for start in range(0, len(text), step):
            if not self._has_room():
                self.lost += 1
                return
            self.stream.write(text[start : start + step])
            self.flush()

    def _has_room(self) -> bool:
        try:
            return bool(select.select([], [self.stream], [], 0 if self.lost else self._stuck_s)[1])
        except (OSError, ValueError, TypeError):
            return True  # no file, or a closed one: writing tells


def set_up(log: Log, environ: Mapping[str, str] = os.environ) -> None:
    """Send the log to standard error as `log` says."""
    _open_places()
    form = ("journal" if _goes_to_journal(environ) else "text") if log.format == "auto" else log.format
    handler = Writer(sys.stderr)
    handler.setFormatter(Formatter(form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log.level.upper())
    for chatty in ("apscheduler", "pikepdf"):  # they tell of every run and start; we tell of results
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a closed standard error must not stop the work


def _open_places() -> None:
    """Open what the three standard streams lack: else the next file gets the number, and what is said ends up in it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(opened, True)  # the worker would have the same lack


def _goes_to_journal(environ: Mapping[str, str]) -> bool:
    """Tell whether standard error is the journal's: a shell below a service inherits the variable, not the stream."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False  # closed
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
