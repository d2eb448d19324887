"""Kills some work before each of its system calls in turn, in a child process."""

import os
import signal
from collections.abc import Callable
from typing import Any

from darkroom.daemon import place

SYSTEM_CALLS = ("open", "fsync", "mkdir", "rename", "link", "unlink", "copy_file_range", "sendfile", "utime")


def dies_at(step: int, work: Callable[[], object]) -> bool:
    """Run `work` in a child that is killed before its system call number `step`; tell whether it came so far.

    Raises AssertionError if the child failed otherwise.
    """
    child = os.fork()
    if not child:
        status = 1
        try:
            _count_down(step)
            work()
            status = 0
        finally:
            os._exit(status)  # never back into pytest
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def _count_down(step: int) -> None:
    left = iter(range(step))

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **options: Any) -> Any:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return counting

    for name in SYSTEM_CALLS:
        setattr(os, name, counted(getattr(os, name)))
    place._rename_free = counted(place._rename_free)
