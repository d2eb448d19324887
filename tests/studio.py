"""The program `darkroom`, daemon and worker, with one more pipeline: the toy `paint`, which needs a prompt."""

import sys
from pathlib import Path

import toys

from darkroom import pipelines
from darkroom.daemon import cli, worker
from darkroom.daemon.crew import COMMAND, Crew

WORKER = COMMAND[-1]
HERE = str(Path(__file__).parent)
PROGRAM = (sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {HERE!r}); import studio; studio.main()")


def main(program: tuple[str, ...] = PROGRAM) -> None:
    """Be `darkroom`, or its worker, as the arguments say; `program` starts the worker."""
    pipelines.KINDS["paint"] = toys.PAINT
    defaults = Crew.__init__.__kwdefaults__
    assert defaults is not None
    defaults["command"] = (*program, WORKER)
    if sys.argv[1] == WORKER:
        worker.main(sys.argv[2:])
    else:
        cli.main()
