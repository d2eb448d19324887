"""Times of day in which a folder's jobs may run."""

import re
from dataclasses import dataclass
from datetime import datetime

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Window:
    """Minutes of the day [start, stop) on some weekdays; past midnight if stop <= start."""

    days: frozenset[int]  # 0 is Monday; the day on which the window opens
    start: int
    stop: int


def parse_window(text: str) -> Window:
    """Read `22:00-07:00` or `sat,sun 00:00-24:00`. Raises ValueError."""
    match = re.fullmatch(r"(?:([a-z,]+)\s+)?(\d\d):(\d\d)\s*-\s*(\d\d):(\d\d)", text.strip().lower())
    if match is None:
        raise ValueError(f"expected times such as 22:00-07:00 or sat,sun 00:00-24:00, got {text!r}")
    names = match[1].split(",") if match[1] else list(DAYS)
    start, stop = int(match[2]) * 60 + int(match[3]), int(match[4]) * 60 + int(match[5])
    if not set(names) <= set(DAYS) or start >= 1440 or stop > 1440 or int(match[3]) > 59 or int(match[5]) > 59:
        raise ValueError(f"expected days {','.join(DAYS)} and times from 00:00 to 24:00, got {text!r}")
    return Window(frozenset(DAYS.index(name) for name in names), start, stop)


def is_open(windows: tuple[Window, ...], now: datetime) -> bool:
    """Tell whether `now` (local time) lies in one of `windows`; no windows means always."""
    minute, today = now.hour * 60 + now.minute, now.weekday()
    return not windows or any(_covers(window, today, minute) for window in windows)


def _covers(window: Window, today: int, minute: int) -> bool:
    if window.start < window.stop:
        return today in window.days and window.start <= minute < window.stop
    yesterday = (today - 1) % 7
    return (today in window.days and minute >= window.start) or (yesterday in window.days and minute < window.stop)
