"""How an inbox or outbox is known again: a marker file with a random id at its root.

An unmounted share looks like an empty folder. Who believes it cancels jobs, or fills the system disk below the mount
point; so a folder without the marker it had is offline, and nothing is concluded from what is in it.
"""

import errno
import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from darkroom.daemon.config import Folder
from darkroom.daemon.crash_points import CrashPoint, reach
from darkroom.daemon.filesystem import MOUNTINFO, mount_at, opened, opened_folder, parse_mounts
from darkroom.daemon.parts import write_durably
from darkroom.daemon.place import NOT_HERE, discard, look, move_free
from darkroom.pipelines.errors import Unavailable

INBOX = ".darkroom-inbox"
OUTBOX = ".darkroom-outbox"
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
BY_MOUNT = "mount "  # begins the identity of a folder in which we may not write


def marked(folder: Folder) -> dict[Path, str]:
    """Return the places of `folder` that are known by a marker, each with its name."""
    places = {folder.inbox: INBOX, folder.outbox: OUTBOX}
    if folder.originals == "move" and folder.originals_folder is not None:
        places[folder.originals_folder] = OUTBOX  # away, it must not be written to either
    return places


def identify(folder: Path, marker: str, remembered: Mapping[str, str]) -> str:
    """Return the identity `folder` is remembered by, or that of a folder just adopted. Raises Unavailable."""
    return remembered.get(str(folder)) or adopt(folder, marker)


def adopt(folder: Path, marker: str, *, mountinfo: Path = MOUNTINFO) -> str:
    """Make `folder` and its `marker` where they are missing and return the folder's identity: 32 hexadecimal digits.

    An inbox that may only be read is known by its mount instead: "mount nfs4 nas:/films".

    Raises Unavailable if the folder cannot be made or read, or an outbox not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with opened_folder(folder) as root:
            if identity := read(root, marker):
                with suppress(OSError):
                    discard(root, _draft(marker))  # a crash came between its two names
                return identity
    except OSError as error:
        raise Unavailable(f"{folder}: {error.strerror}; make the folder, and let this user read it") from error
    try:
        with opened_folder(folder) as root:
            return _mark(root, marker)
    except OSError as error:
        if error.errno in READ_ONLY and marker == INBOX:
            return _mount_identity(folder, mountinfo)
        raise Unavailable(
            f"{folder / marker}: {error.strerror}; make the folder writable or free some space"
        ) from error


def _mark(root: int, marker: str) -> str:
    """Write a new marker and return its id, or that of somebody who was faster (folders may share an outbox)."""
    identity = secrets.token_hex(16)
    words = f"{identity}\nDarkroom knows this folder by this file: without it the folder counts as offline.\n"
    with suppress(OSError):  # not on every share; there the draft of two at once is that of one
        fcntl.flock(root, fcntl.LOCK_EX)
    if faster := read(root, marker):
        return faster
    discard(root, _draft(marker))  # of a crash
    file = os.open(_draft(marker), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=root)
    with os.fdopen(file, "w", encoding="ascii") as stream:
        stream.write(words)
        stream.flush()
        os.fsync(file)
    reach(CrashPoint.MARKER_WRITTEN)
    try:
        move_free(root, _draft(marker), root, marker.encode())
    except FileExistsError:
        discard(root, _draft(marker))
        return read(root, marker)
    except OSError as error:  # neither renamed without replacing nor linked: FAT, some servers
        if error.errno not in NOT_HERE:
            raise
        os.rename(_draft(marker), marker, src_dir_fd=root, dst_dir_fd=root)
    reach(CrashPoint.MARKER_NAMED)
    os.fsync(root)
    return identity


def _draft(marker: str) -> bytes:
    return f"{marker}.draft".encode()


def is_outbox(root: int) -> bool:
    """Tell whether the folder open as `root` is somebody's outbox; one that may not be entered tells nothing."""
    try:
        return look(root, OUTBOX.encode()) is not None
    except PermissionError:
        return False


def read(root: int, marker: str) -> str:
    """Return the id in `marker` of the folder open as `root`, '' if there is no such file. Raises OSError."""
    try:
        with opened(os.fsencode(marker), root) as handle:
            return os.pread(handle, 256, 0).split(b"\n")[0].decode("ascii", "replace").strip()
    except FileNotFoundError:
        return ""


def why_offline(folder: Path, marker: str, identity: str, name: str) -> str:
    """Return in one line why `folder` cannot be used now; '' if it is the one known as `identity`.

    name:  of the folder in the configuration, for the remedy
    """
    try:
        with opened_folder(folder) as root:
            return mismatch(root, folder, marker, identity, name)
    except OSError as error:
        return unreachable(folder, error)


def mismatch(root: int, folder: Path, marker: str, identity: str, name: str, *, mountinfo: Path = MOUNTINFO) -> str:
    """Return why `folder`, open as `root`, is not the one known as `identity`; '' if it is. Raises OSError."""
    remedy = f"`darkroom check --adopt {name}` accepts the folder as it is"
    if identity.startswith(BY_MOUNT):
        found = _mount_identity(folder, mountinfo)
        return (
            "" if found == identity else f"{folder}: is on {found}, was on {identity}: is the share mounted? {remedy}"
        )
    found = read(root, marker)
    if not found:
        return f"{folder}: marker {marker} is missing: is the share mounted? {remedy}"
    return (
        ""
        if found == identity
        else f"{folder}: marker {marker} is another folder's: is the right one mounted? {remedy}"
    )


def why_away(root: int, folder: Path, marker: str, identities: Mapping[str, str], name: str) -> str:
    """Return why `folder`, open as `root`, is not the one remembered in `identities`; '' if it is. Raises OSError.

    Of one that is not remembered any marker will do.
    """
    identity = identities.get(str(folder), "")
    if not identity and look(root, marker.encode()):
        return ""
    return mismatch(root, folder, marker, identity, name)


def unreachable(folder: Path, error: OSError) -> str:
    """Say in one line that `folder` cannot be read: gone, its server dead, not allowed."""
    return f"{folder}: {error.strerror or error}: is it there, mounted and readable? it is looked at again"


def load_identities(path: Path) -> dict[str, str]:
    """Return the identities of folders by their path, as kept at `path`; none if there is no file.

    Raises Unavailable for a damaged file: to go on without it would accept any folder as it is.
    """
    try:
        kept = dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise Unavailable(f"{path}: {error}; see that all shares are mounted, then remove this file") from error
    return {str(folder): str(identity) for folder, identity in kept.items()}


def save_identities(path: Path, identities: Mapping[str, str]) -> None:
    """Keep `identities` at `path`, durably."""
    write_durably(path, json.dumps(dict(identities), indent=1).encode())


def _mount_identity(folder: Path, mountinfo: Path) -> str:
    mount = mount_at(os.fsencode(folder), parse_mounts(mountinfo.read_bytes()))
    return f"{BY_MOUNT}{mount.kind} {mount.source}"
