"""Holds a process just before it opens or renames to a file, for as long as a turnstile of that file's name stands.

Part of a booted machine's Python (`booted.py`), for tests that must meet the daemon at one step and no other. Python
tells of both system calls before it makes them (PEP 578). What is held is held as by a disk that hangs: inside a call,
without a word to anybody, but for the one line by which the test knows.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

TURNSTILES = Path("/run/turnstiles")
NAMES = {"open": 0, "os.rename": 1}  # by audit event, which of its arguments names the file


def pass_through(event: str, arguments: tuple[Any, ...]) -> None:
    """Wait while there is a turnstile for the file that `event` is about."""
    which = NAMES.get(event)
    if which is None or not isinstance(arguments[which], str | bytes | os.PathLike):
        return
    turnstile = TURNSTILES / os.path.basename(os.fsdecode(arguments[which]))  # noqa: PTH119 - any path, at any time
    if turnstile.exists():
        os.write(2, f"held before {event} {turnstile.name}\n".encode())
        while turnstile.exists():
            time.sleep(0.01)


if TURNSTILES.is_dir():
    sys.addaudithook(pass_through)
