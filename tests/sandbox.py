"""Looks around in the sandbox of the service, as its process sees it, and prints what it found as one line of JSON."""

import ctypes
import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

CLONE_NEWUSER = 0x10000000  # sched.h


def outcome(attempt: Callable[[], object]) -> str:
    """Return "done", or the name of the error."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def unshare() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")


def lease(path: str) -> None:
    file = os.open(path, os.O_RDONLY)
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)


def set_user_bit() -> None:
    path = Path("/var/lib/darkroom/bit")
    path.touch()
    path.chmod(0o4755)


def convolve() -> dict[str, float]:
    """Run a convolution of torch in the precisions of the embedded models; it compiles code as it goes."""
    import torch

    ones = torch.ones(1, 8, 16, 16)
    sums = {}
    for kind in (torch.float32, torch.bfloat16):
        found = torch.nn.functional.conv2d(ones.to(kind), torch.ones(8, 8, 3, 3, dtype=kind))
        sums[str(kind)] = float(found[0, 0, 0, 0])
    return sums | {"threads": float(torch.get_num_threads())}


def main(open_folder: str, foreign_file: str) -> None:
    """Try what the unit forbids and what it must allow.

    open_folder:  one that any user may write to, were it not for the sandbox;  foreign_file: another user's
    """
    found = {
        "write outside": outcome(lambda: Path(open_folder, "file").touch()),
        "write to the program": outcome(lambda: Path("/opt/open/file").touch()),
        "read a home": outcome(lambda: list(Path("/home/alice").iterdir())),
        "see another process": outcome(lambda: Path("/proc/1/stat").read_bytes()),
        "reach the network": outcome(lambda: socket.socket(socket.AF_INET)),
        "make a namespace": outcome(unshare),
        "set the clock": outcome(lambda: time.clock_settime(time.CLOCK_REALTIME, time.time())),
        "make a program of another user": outcome(set_user_bit),
        "write to the share": outcome(lambda: Path("/srv/darkroom/outbox/upscale/.try").touch()),
        "write to the state": outcome(lambda: Path("/var/lib/darkroom/try").touch()),
        "lease another user's file": outcome(lambda: lease(foreign_file)),
    }
    rights = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line)
    more = {"rights": int(rights, 16), "nice": os.nice(0), "cores": len(os.sched_getaffinity(0)), "torch": convolve()}
    print(json.dumps(found | more))


if __name__ == "__main__":
    main(*sys.argv[1:])
