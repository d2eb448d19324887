"""The program of `studio.py`, daemon and worker, that dies at crash points.

The note of a point's name has a letter for each time that it is passed, by whichever process: x for dying there.
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path

import studio
from programs import program

NOTES = "DARKROOM_TESTS_NOTES"  # in the environment: the folder of the notes
EVENT = "darkroom."
PROGRAM = program("fated")


def main() -> None:
    """Be `darkroom`, or its worker, as the arguments say."""
    sys.addaudithook(partial(_hear, Path(os.environ[NOTES])))
    studio.main(PROGRAM)


def _hear(notes: Path, event: str, _: object) -> None:
    if event.startswith(EVENT):
        note = notes / event.removeprefix(EVENT)
        if note.exists() and (left := note.read_text()):
            note.write_text(left[1:])
            if left[0] == "x":
                os.kill(os.getpid(), signal.SIGKILL)
