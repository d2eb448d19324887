"""The program `darkroom`, daemon and worker, with one more pipeline: the toy `paint`, which needs a prompt."""

import toys
from programs import be_darkroom, program

from darkroom import pipelines

PROGRAM = program("studio")


def main(command: tuple[str, ...] = PROGRAM) -> None:
    """Be `darkroom`, or its worker, as the arguments say; `command` starts the worker."""
    pipelines.KINDS["paint"] = toys.PAINT
    be_darkroom(command)
