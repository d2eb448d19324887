"""The clocks: wall time for people, boot time for decisions."""

import time
from dataclasses import dataclass
from pathlib import Path


def unix_now() -> float:
    """Return Unix seconds, for people to read; it can jump, so nothing is measured with it."""
    return time.time()


def uptime() -> float:
    """Return seconds since boot, suspended time included; it never jumps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return what tells this boot of the machine from every other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """A boot of the machine, and when it was by the wall clock: that moves only if somebody sets the clock."""

    id: str
    at: float  # Unix seconds


def this_boot() -> Boot:
    """Return the boot of the machine, dated by the wall clock as it is now."""
    return Boot(id=boot_id(), at=unix_now() - uptime())
