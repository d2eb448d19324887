"""How files come into inboxes in the wild: at once, in pieces, under other names, dated back, twice."""

import errno
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PIECES = 4  # of a slow copy
LONGEST_PAUSE_S = 0.8
NOTE = "scale: 3\n"  # what a sidecar says
LONG_AGO_S = 10 * 365 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A file somebody drops, and what is said beside it."""

    clip: str
    note: str = ""


@dataclass(slots=True, kw_only=True)
class Drop:
    """One name in one inbox, and all that was ever under it."""

    folder: str
    path: str  # below the inbox
    pattern: str
    films: list[Film] = field(default_factory=list)  # the last one is there when all is over


class Dropper:
    """Brings films into the inboxes below `root`, each by the pattern that the dice choose."""

    def __init__(self, root: Path, clips: dict[str, bytes], dice: random.Random) -> None:
        self.drops: list[Drop] = []
        self._root = root
        self._clips = clips
        self._dice = dice
        self._patterns: dict[str, Callable[[Path, Drop, random.Random], None]] = {
            "slow copy": self._slow_copy,
            "written beside, renamed": self._renamed,
            "rsync": self._rsync,
            "tree moved in": self._tree,
            ".part, renamed": self._part,
            "preallocated": self._preallocated,
            "dated back": self._dated_back,
            "closed and opened again": self._reopened,
            "deleted and uploaded again": self._uploaded_again,
            "sidecar first": self._sidecar_first,
            "sidecar later": self._sidecar_later,
        }
        if shutil.which("rsync") is None:
            del self._patterns["rsync"]

    def plan(self, folder: str) -> Callable[[], None]:
        """Choose the next drop, and return what brings it; that takes seconds and is for a thread of its own."""
        number, pattern = len(self.drops), list(self._patterns)[len(self.drops) % len(self._patterns)]
        inner = f"tree {number}/film.mp4" if pattern == "tree moved in" else f"film {number}.mp4"
        drop = Drop(folder=folder, path=inner, pattern=pattern)
        drop.films.append(Film(clip=self._any_clip()))
        self.drops.append(drop)
        dice = random.Random(self._dice.random())
        return lambda: self._bring(drop, dice)

    def _any_clip(self) -> str:
        return self._dice.choice(sorted(self._clips))

    def _bring(self, drop: Drop, dice: random.Random) -> None:
        target = self._root / drop.folder / "inbox" / drop.path
        while True:
            try:
                self._patterns[drop.pattern](target, drop, dice)
                return
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                time.sleep(LONGEST_PAUSE_S)  # as a person: tried again until there is space

    # -- patterns ------------------------------------------------------------------------------------------------

    def _data(self, drop: Drop) -> bytes:
        return self._clips[drop.films[-1].clip]

    def _slow_copy(self, target: Path, drop: Drop, dice: random.Random) -> None:
        with target.open("wb", buffering=0) as file:
            for piece in _pieces(self._data(drop)):
                _write(file.fileno(), piece)
                time.sleep(dice.uniform(0, LONGEST_PAUSE_S))

    def _renamed(self, target: Path, drop: Drop, dice: random.Random) -> None:
        draft = target.with_name(f".{target.name}.copying")
        draft.write_bytes(self._data(drop))
        draft.rename(target)

    def _rsync(self, target: Path, drop: Drop, dice: random.Random) -> None:
        source = self._root / "elsewhere" / f"{drop.folder}-{target.name}"
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(self._data(drop))
        ended = subprocess.run(["rsync", "-t", "--bwlimit=200", source, target], capture_output=True, check=False)
        source.unlink()
        if ended.returncode:
            raise OSError(errno.ENOSPC, "rsync: no space")

    def _tree(self, target: Path, drop: Drop, dice: random.Random) -> None:
        tree = self._root / "elsewhere" / target.parent.name
        tree.mkdir(parents=True, exist_ok=True)
        (tree / target.name).write_bytes(self._data(drop))
        tree.rename(target.parent)

    def _part(self, target: Path, drop: Drop, dice: random.Random) -> None:
        part = target.with_name(f"{target.name}.part")
        self._slow_copy(part, drop, dice)
        part.rename(target)

    def _preallocated(self, target: Path, drop: Drop, dice: random.Random) -> None:
        data = self._data(drop)
        with target.open("wb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, len(data))
            for piece in _pieces(data):
                time.sleep(dice.uniform(0, LONGEST_PAUSE_S))
                _write(file.fileno(), piece)

    def _dated_back(self, target: Path, drop: Drop, dice: random.Random) -> None:
        target.write_bytes(self._data(drop))
        then = time.time() - LONG_AGO_S + dice.uniform(0, 1e6)
        os.utime(target, (then, then))

    def _reopened(self, target: Path, drop: Drop, dice: random.Random) -> None:
        target.write_bytes(b"")
        for piece in _pieces(self._data(drop)):
            with target.open("ab", buffering=0) as file:
                _write(file.fileno(), piece)
            time.sleep(dice.uniform(0, LONGEST_PAUSE_S))

    def _uploaded_again(self, target: Path, drop: Drop, dice: random.Random) -> None:
        self._slow_copy(target, drop, dice)
        time.sleep(dice.uniform(0, 5 * LONGEST_PAUSE_S))
        target.unlink(missing_ok=True)  # its original may have been moved by now
        drop.films.append(Film(clip=dice.choice(sorted(self._clips))))
        self._slow_copy(target, drop, dice)

    def _sidecar_first(self, target: Path, drop: Drop, dice: random.Random) -> None:
        drop.films[-1] = Film(clip=drop.films[-1].clip, note=NOTE)
        target.with_name(f"{target.name}.yaml").write_text(NOTE)
        time.sleep(dice.uniform(0, LONGEST_PAUSE_S))
        self._slow_copy(target, drop, dice)

    def _sidecar_later(self, target: Path, drop: Drop, dice: random.Random) -> None:
        """Say something beside a film that is there: before it is settled, while it waits, or while it is worked on."""
        self._slow_copy(target, drop, dice)
        time.sleep(dice.uniform(0, 3 * LONGEST_PAUSE_S))
        note = target.with_name(f"{target.name}.yaml")
        draft = note.with_name(f".{note.name}")
        draft.write_text(NOTE)
        if target.exists():  # else it is published and gone, and the word comes too late
            draft.rename(note)
            drop.films.append(Film(clip=drop.films[-1].clip, note=NOTE))
        else:
            draft.unlink()


def _pieces(data: bytes) -> Iterator[bytes]:
    size = -(-len(data) // PIECES)
    return (data[start : start + size] for start in range(0, len(data), size))


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
