"""Memory as the kernel counts it: what a process and its children hold, and how much there is for them"""

from collections.abc import Iterator
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
SHARE = 0.9  # of the machine's memory: the rest is the system's, and the daemon's
COUNTED = ("RssAnon:", "VmSwap:")  # mapped files, such as weights, can be dropped at any time and count for nothing


def held_bytes(pid: int, proc: Path = PROC) -> int:
    """Give the bytes that process `pid` and all its children hold for themselves, in memory or swapped out.

    A process that is gone holds nothing. Kernels built without lists of children show the process alone.
    """
    return sum(_held_by(process, proc) for process in _family(pid, proc))


def _family(pid: int, proc: Path) -> Iterator[int]:
    yield pid
    for children in (proc / str(pid) / "task").glob("*/children"):
        for child in _read(children).split():
            yield from _family(int(child), proc)


def _held_by(pid: int, proc: Path) -> int:
    fields = (line.split() for line in _read(proc / str(pid) / "status").splitlines())
    return sum(int(words[1]) * 1024 for words in fields if words and words[0] in COUNTED)


def usable_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Give SHARE of the memory there is: the machine's, or what the cgroup leaves of it."""
    (total,) = (line.split()[1] for line in _read(proc / "meminfo").splitlines() if line.startswith("MemTotal:"))
    return int(SHARE * min([int(total) * 1024, *_limits(proc, cgroups)]))


def _limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """Yield the limit of this process's cgroup and of each above it, as version 2 or 1 has it.

    In a container the path may be one that cannot be seen from within: the root's own limit is the container's then.
    """
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        root, name = cgroups, "memory.max"
        if controllers:
            root, name = cgroups / "memory", "memory.limit_in_bytes"
        if controllers in ("", "memory"):
            own = root / path.lstrip("/")
            for folder in (own, *own.parents):
                if (limit := _read(folder / name).strip()).isdecimal():  # not "max"
                    yield int(limit)
                if folder == root:
                    break


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # the process has ended, or this kernel does not tell
