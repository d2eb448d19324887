"""The clocks: wall time for people, boot time for decisions."""

import time
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
