"""The program `darkroom`, daemon and worker, in which a page that holds the word `deadly` kills the worker."""

import os
import signal
import sys
from pathlib import Path

from darkroom.daemon import cli, worker
from darkroom.daemon.crew import COMMAND, Crew

WORKER = COMMAND[-1]
WORD = "deadly"
HERE = str(Path(__file__).parent)
PROGRAM = (sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {HERE!r}); import deadly; deadly.main()")


def main() -> None:
    """Be `darkroom`, or its worker, as the arguments say."""
    defaults = Crew.__init__.__kwdefaults__
    assert defaults is not None
    defaults["command"] = (*PROGRAM, WORKER)
    if sys.argv[1] == WORKER:
        _arm()
        worker.main(sys.argv[2:])
    else:
        cli.main()


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
