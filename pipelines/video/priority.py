"""The right to real-time priority, which SVT-AV1 takes wherever it can, and which we give up before it is opened"""

import ctypes

CAP_SYS_NICE = 23  # linux/capability.h, as the two below
VERSION, WORDS = 0x20080522, 6  # effective, permitted and inheritable rights: the lower halves, then the upper ones


def stay_ordinary() -> None:
    """Give up the right to raise priorities, in this thread and in those that it starts.

    As root SVT-AV1 gives the thread that opens it, for good, and all its own SCHED_FIFO 99 (seen in 4.1): what torch
    computes there from then on leaves other programs 5 % of a processor, sched(7).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header, rights = (ctypes.c_uint32 * 2)(VERSION, 0), (ctypes.c_uint32 * WORDS)()
    if libc.capget(header, rights) == 0:
        rights[0] &= ~(1 << CAP_SYS_NICE)
        libc.capset(header, rights)
