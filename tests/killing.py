"""Kills some work in a child process: before each of its system calls in turn, or at its crash points."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from darkroom.daemon import place

SYSTEM_CALLS = ("open", "fsync", "mkdir", "rename", "link", "unlink", "copy_file_range", "sendfile", "utime")


def dies_at(step: int, work: Callable[[], object]) -> bool:
    """Run `work` in a child that is killed before its system call number `step`; tell whether it came so far.

    Raises AssertionError if the child failed otherwise.
    """
    return not in_child(lambda: _count_down(step), work)


def _count_down(step: int) -> None:
    left = iter(range(step))

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **options: Any) -> Any:
            if next(left, None) is None:
                die()
            return call(*arguments, **options)

        return counting

    for name in SYSTEM_CALLS:
        setattr(os, name, counted(getattr(os, name)))
    place._rename_free = counted(place._rename_free)


def at_point(number: int, act: Callable[[], object]) -> None:
    """Do `act` when this process passes its crash point `number`, counted from 0; there is no way back."""
    left = iter(range(number + 1))

    def hook(event: str, _arguments: object) -> None:
        if event.startswith("darkroom.") and next(left, None) == number:
            act()

    sys.addaudithook(hook)


def at_each_point(act: Callable[[str], object]) -> None:
    """Do `act` with the name of each crash point that this process passes; there is no way back."""

    def hook(event: str, _arguments: object) -> None:
        if event.startswith("darkroom."):
            act(event.removeprefix("darkroom."))

    sys.addaudithook(hook)


def die() -> None:
    """End this process as a power cut does."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_child(*work: Callable[[], object]) -> bool:
    """Run each `work` in a forked child; tell whether the last came to its end, False if it was killed.

    Raises AssertionError if it failed otherwise; its traceback is on standard error.
    """
    child = os.fork()
    if not child:
        status = 1
        try:
            for each in work:
                each()
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)  # never back into pytest
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"the child ended with {status}"
    return status == 0
