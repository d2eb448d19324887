"""Programs of tests: `darkroom`, daemon and worker, with something of the tests' own in both."""

import sys
from collections.abc import Sequence
from pathlib import Path

from darkroom.daemon import cli, worker
from darkroom.daemon.crew import COMMAND, Crew

WORKER = COMMAND[-1]
HERE = str(Path(__file__).parent)


def program(name: str) -> tuple[str, ...]:
    """Return the command that runs `main` of the file NAME.py beside this one; arguments of `darkroom` follow."""
    return (sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {HERE!r}); import {name}; {name}.main()")


def is_worker() -> bool:
    """Tell whether this process was started as a worker."""
    return sys.argv[1] == WORKER


def be_darkroom(command: Sequence[str]) -> None:
    """Be `darkroom`, or its worker, as the arguments say; `command` starts the workers."""
    defaults = Crew.__init__.__kwdefaults__
    assert defaults is not None
    defaults["command"] = (*command, WORKER)
    if is_worker():
        worker.main(sys.argv[2:])
    else:
        cli.main()
