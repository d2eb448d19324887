"""The program `darkroom`, daemon and worker, in which a page that holds the word `deadly` kills the worker."""

import os
import signal

from programs import be_darkroom, is_worker, program

WORD = "deadly"
PROGRAM = program("deadly")


def main() -> None:
    """Be `darkroom`, or its worker, as the arguments say."""
    if is_worker():
        _arm()
    be_darkroom(PROGRAM)


def _arm() -> None:
    from darkroom.pipelines.ocr.engines.base import Reading
    from darkroom.pipelines.ocr.engines.rapid import Rapid
    from darkroom.pipelines.ocr.picture import Picture

    read = Rapid.read

    def killing(self: Rapid, picture: Picture) -> Reading:
        reading = read(self, picture)
        if any(WORD in line.text for line in reading.lines):
            os.kill(os.getpid(), signal.SIGKILL)  # as a fault in native code does, or the kernel short of memory
        return reading

    Rapid.read = killing  # type: ignore[method-assign]
