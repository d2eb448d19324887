"""What this machine has taught: how fast its devices are, and which way of running fitted their memory

One small JSON file that several workers read and write. It may be deleted: everything in it is learned again.
"""

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Learned:
    """The file at `path`. What other versions wrote in it is left alone."""

    path: Path

    def pace(self, device: str, precision: str, measure: Callable[[], float]) -> float:
        """Give the pace of `device` in `precision` (10¹² operations a second): measured once, then kept.

        A plan rests on it, so the plan of a job that goes on is the plan it began with, however busy the device was.
        device: its name, such as "NVIDIA H100 80GB HBM3": the same card is as fast in another slot
        """
        known = self._at("pace", device, precision)
        if not _is_pace(known):
            with self._changing() as taught:
                paces = _section(taught, "pace", device)
                known = paces.get(precision)
                if not _is_pace(known):  # none was faster than us
                    known = paces[precision] = float(f"{measure():.4g}")
        return float(known)

    def rung(self, device: str, width: int, height: int, scale: object) -> Any:
        """Give what `keep_rung` was told last for frames of this size, None if nothing."""
        return self._at("rungs", device, _frames(width, height, scale))

    def keep_rung(self, device: str, width: int, height: int, scale: object, rung: Mapping[str, Any]) -> None:
        """Remember the way of running that fitted, for the jobs to come."""
        with self._changing() as taught:
            _section(taught, "rungs", device)[_frames(width, height, scale)] = dict(rung)

    def ran(self, device: str, width: int, height: int, scale: object) -> str:
        """Give in words how frames of this size were run last, "" if they never were."""
        words = self._at("ran", device, _frames(width, height, scale))
        return words if isinstance(words, str) else ""

    def keep_ran(self, device: str, width: int, height: int, scale: object, words: str) -> None:
        """Remember how frames of this size are run, for reports: nothing is decided by it."""
        if self.ran(device, width, height, scale) != words:
            with self._changing() as taught:
                _section(taught, "ran", device)[_frames(width, height, scale)] = words

    def _at(self, *keys: str) -> Any:
        found: Any = self._read()
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def _read(self) -> dict[str, Any]:
        try:
            taught = json.loads(self.path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("%s: cannot be read (%s); what it held is learned again", self.path, error)
            return {}
        return taught if isinstance(taught, dict) else {}

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """Yield what is known; what becomes of it replaces the file in one step, one writer at a time.

        A disk that cannot be written costs the memory, not the job.
        """
        with _locked(self.path.with_name(f".{self.path.name}.lock")):
            taught = self._read()
            yield taught
            draft = self.path.with_name(f".{self.path.name}.draft")
            try:
                draft.write_text(json.dumps(taught, indent=1, sort_keys=True) + "\n")
                draft.replace(self.path)
            except OSError as error:
                log.warning("%s: cannot be written (%s); it will be learned again", self.path, error.strerror)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock at `path`, beside the file: the file itself is replaced, and a lock on it with it."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        yield  # the draft cannot be written either, and says so
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _frames(width: int, height: int, scale: object) -> str:
    return f"{width}x{height} x{scale}"


def _section(taught: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        inner = taught.get(key)
        taught[key] = taught = inner if isinstance(inner, dict) else {}
    return taught


def _is_pace(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9
