"""Setting up: a ready tree for a first start, and what a configuration comes to on this machine."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom import pipelines
from darkroom.daemon import marker
from darkroom.daemon.config import Config, Folder, options_for
from darkroom.daemon.disk import short_of
from darkroom.daemon.filesystem import MOUNTINFO, Mount, mount_at, parse_mounts
from darkroom.daemon.inbox import Inbox
from darkroom.daemon.lookout import IDENTITIES

CONFIG = "config.yaml"

HEAD = """\
# Darkroom: what is watched, and where the results go. Relative paths start at the folder of this file.
# Only what is needed is here. All keys with their meaning, range and default: config.yaml of the source tree;
# what is in force, defaults included: `darkroom --config THIS_FILE check`.

state: state                # the journal and unfinished work: on a local disk

folders:
"""

FOLDER = """\
  - name: {name}
    pipeline: {name:<14}  # {summary}
    inbox: {inbox}
    outbox: {outbox}
"""


def init(root: Path) -> Path:
    """Write a ready tree below `root`, with an inbox and an outbox for each pipeline; return its configuration.

    Raises FileExistsError if there is a configuration already: it is never overwritten.
    """
    root.mkdir(parents=True, exist_ok=True)
    text = HEAD
    for name, kind in pipelines.KINDS.items():
        inbox, outbox = f"inbox/{name}", f"outbox/{name}"
        text += FOLDER.format(name=name, summary=kind.summary, inbox=inbox, outbox=outbox)
    config = root / CONFIG
    with config.open("x", encoding="utf-8") as file:
        file.write(text)
    for folder in ("state", *(f"{box}/{name}" for name in pipelines.KINDS for box in ("inbox", "outbox"))):
        (root / folder).mkdir(parents=True, exist_ok=True)
    return config


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder of the configuration as it is on this machine."""

    path: Path
    exists: bool
    writable: bool  # or, of a missing one, that it can be made
    mount: Mount
    free_bytes: int
    trouble: str  # why it cannot be used now, "" if it can


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What one folder of the configuration comes to."""

    folder: Folder
    inbox: Place
    outbox: Place
    mode: str  # events or poll
    scan_every_s: float
    settle_s: float
    options: Mapping[str, Any]  # of the pipeline, defaults included


def survey(config: Config, folder: Folder, identities: Mapping[str, str], *, mountinfo: Path = MOUNTINFO) -> Survey:
    """Return what `folder` comes to, touching nothing.

    identities: of inboxes and outboxes by their path, as remembered (`marker.load_identities`)
    """
    inbox = look_at(folder.inbox, marker.INBOX, identities, folder.name, mountinfo=mountinfo)
    outbox = look_at(folder.outbox, marker.OUTBOX, identities, folder.name, mountinfo=mountinfo)
    watched = Inbox(folder, config.watch, "", mountinfo=mountinfo)
    return Survey(
        folder=folder,
        inbox=inbox,
        outbox=outbox,
        mode=watched.mode,
        scan_every_s=watched.scan_every_s,
        settle_s=watched.settle_s(inbox.mount),
        options=options_for(folder, {}).model_dump(),
    )


def look_at(path: Path, mark: str, identities: Mapping[str, str], name: str, *, mountinfo: Path = MOUNTINFO) -> Place:
    """Return how the folder `path` is now; an outbox and a folder to be made must be writable.

    mark:  marker.INBOX or marker.OUTBOX;  name: of the folder in the configuration, for the remedy
    """
    there = next(folder for folder in (path, *path.parents) if os.access(folder, os.F_OK))
    space = os.statvfs(there)
    writable = os.access(there, os.W_OK | os.X_OK)
    return Place(
        path=path,
        exists=there == path,
        writable=writable,
        mount=mount_at(os.fsencode(path), parse_mounts(mountinfo.read_bytes())),
        free_bytes=space.f_bavail * space.f_frsize,
        trouble=_trouble(path, mark, identities, name, there, writable),
    )


def _trouble(path: Path, mark: str, identities: Mapping[str, str], name: str, there: Path, writable: bool) -> str:
    if identity := identities.get(str(path)):
        if away := marker.why_offline(path, mark, identity, name):
            return away
    elif there != path:
        return "" if writable else f"{path}: cannot be made; make it, or let this user write to {there}"
    if not there.is_dir():
        return f"{path}: is no folder; name another"
    if not os.access(there, os.R_OK | os.X_OK):
        return f"{path}: cannot be read; let this user read it"
    if mark == marker.OUTBOX and not writable:
        return f"{path}: cannot be written; let this user write to it"
    return ""


def troubles(config: Config, identities: Mapping[str, str]) -> list[str]:
    """Return what keeps jobs from running on this machine now, one line each: folders away, disks full."""
    found = [short_of(config.state, 0, config.disk.work_reserve)]
    for folder in config.folders:
        for path, mark in ((folder.inbox, marker.INBOX), (folder.outbox, marker.OUTBOX)):
            found.append(look_at(path, mark, identities, folder.name).trouble)
        if os.access(folder.outbox, os.F_OK):
            found.append(short_of(folder.outbox, 0, config.disk.outbox_reserve))
    return list(dict.fromkeys(line for line in found if line))


def adopt(config: Config, folder: Folder) -> None:
    """Know inbox, outbox and originals of `folder` from now on as they are, whatever they were. Raises Unavailable."""
    kept = config.state / IDENTITIES
    adopted = {str(path): marker.adopt(path, mark) for path, mark in marker.marked(folder).items()}
    config.state.mkdir(parents=True, exist_ok=True)
    marker.save_identities(kept, marker.load_identities(kept) | adopted)
