"""Why the jobs of a folder do not start now."""

import re
from collections.abc import Mapping
from datetime import datetime

from darkroom.daemon.config import Config, Folder
from darkroom.daemon.disk import short_of
from darkroom.daemon.journal import EVERYTHING
from darkroom.daemon.schedule import is_open

WISHES = ("on hold", "outside")  # a cause that begins so is somebody's wish, not a trouble


def why_closed(
    config: Config, folder: Folder, offline: str, holds: Mapping[str, str], now: datetime, *, was_closed: bool
) -> str:
    """Return the first cause that keeps the jobs of `folder` from starting, "" if there is none.

    offline: why its inbox or outbox cannot be used;  holds: reasons by folder name or EVERYTHING;  now: local time
    was_closed: jobs wait already, and the disk must have some more than the reserve before they start
    """
    for scope in (EVERYTHING, folder.name):
        if scope in holds:
            return f"on hold: {holds[scope] or 'no reason given'}"
    if not is_open(config.windows(folder), now):
        return f"outside its schedule ({', '.join(folder.schedule)})"
    return offline or short_of(config.state, 0, config.disk.work_reserve, waiting=was_closed)


def but_for_numbers(cause: str) -> str:
    """Return what tells one cause from another: seconds and free bytes change all the time."""
    return re.sub(r"\d[\d.]*", "", cause)
