"""What a process that we start for work does first: it is to end with the one that started it, and not before."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with(parent: int, who: str) -> None:
    """Have the kernel kill this process as soon as `parent`, the process that started it, is gone.

    Signals to the whole group (Ctrl-C, a terminal that is closed) are the parent's to answer and are ignored.
    who: what the parent is, for the line with which this process exits if that is gone already
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(f"the {who} ended while this process was starting")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
