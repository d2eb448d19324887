"""The folders and clocks of the model house, and what people and file servers do to them."""

import os
import time
from pathlib import Path

Version = tuple[bytes, int, int]  # path, size, mtime in ns
AWAY = ".away"


class Clocks:
    """In place of a module's `time`: the clock since boot goes on, that on the wall may be set."""

    CLOCK_BOOTTIME = time.CLOCK_BOOTTIME

    def __init__(self) -> None:
        self.since_boot = 1000.0
        self.wall_ahead = time.time() - self.since_boot

    def monotonic(self) -> float:
        return self.since_boot

    def clock_gettime(self, _which: int) -> float:
        return self.since_boot

    def time(self) -> float:
        return self.since_boot + self.wall_ahead


class ModelFolders:
    """`inbox`, `outbox` and `originals` below `root`, each mounted or not, and a record of each file's versions."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clocks = Clocks()
        self.files: dict[bytes, bytes] = {}  # what people left in the inbox
        self.versions: dict[Version, bytes] = {}  # what each version of each file was, ever
        self.still_since: dict[Version, float] = {}  # when somebody made it what it is, by the clock since boot
        self.open_since: dict[bytes, float] = {}  # likewise, of files that somebody has open to write to
        self.offline: set[str] = set()  # of inbox, outbox, originals
        self._writers: dict[bytes, int] = {}
        self._written = 0

    def place(self, name: str) -> Path:
        """Where the files of `inbox`, `outbox` or `originals` really are, mounted or not."""
        return self.root / (name + AWAY if name in self.offline else name)

    def put(self, path: bytes, content: bytes, at_once: bool) -> None:
        """Write a file: over the old one's content, or `at_once` by a rename from beside it."""
        target = self._real(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if at_once:
            self.let_go(path)  # what is open is another file now
        draft = target.with_name(f".{target.name}.new") if at_once else target
        draft.write_bytes(content)
        self._date(draft)
        draft.replace(target)
        self._wrote(path, content)

    def append(self, path: bytes, more: bytes) -> None:
        if path in self.files:
            self.put(path, self.files[path] + more, at_once=False)

    def copy(self, old: bytes, new: bytes) -> None:
        if old in self.files:
            self.put(new, self.files[old], at_once=True)

    def rename(self, old: bytes, new: bytes) -> None:
        if old in self.files:
            self.let_go(old)
            self.let_go(new)
            self._real(new).parent.mkdir(parents=True, exist_ok=True)
            self._real(old).replace(self._real(new))
            self._wrote(new, self.files.pop(old) if new != old else self.files[old])

    def delete(self, path: bytes) -> None:
        if path in self.files:
            self.let_go(path)
            self._real(path).unlink()
            del self.files[path]

    def touch(self, path: bytes) -> None:
        if path in self.files:
            self._date(self._real(path))
            self._wrote(path, self.files[path])

    def hold_open(self, path: bytes) -> None:
        """Begin to write to a file, without a byte so far."""
        if path in self.files and path not in self._writers:
            self._writers[path] = os.open(self._real(path), os.O_WRONLY)
            self.open_since[path] = self.clocks.since_boot

    def let_go(self, path: bytes) -> None:
        if path in self._writers:
            os.close(self._writers.pop(path))
            del self.open_since[path]

    def let_all_go(self) -> None:
        for path in list(self._writers):
            self.let_go(path)

    def unmount(self, name: str) -> None:
        """Leave a bare folder where `name` was mounted."""
        if name not in self.offline:
            (self.root / name).rename(self.root / (name + AWAY))
            (self.root / name).mkdir()
            self.offline.add(name)

    def mount(self, name: str) -> None:
        if name in self.offline:
            (self.root / name).rmdir()  # fails if anything was written below the mount point
            (self.root / (name + AWAY)).rename(self.root / name)
            self.offline.discard(name)

    def wait(self, seconds: float) -> None:
        self.clocks.since_boot += seconds

    def set_clock(self, seconds: float) -> None:
        """Put the clock on the wall forward or back."""
        self.clocks.wall_ahead += seconds

    def _real(self, path: bytes) -> Path:
        return self.place("inbox") / os.fsdecode(path)

    def _date(self, file: Path) -> None:
        """Give a file a time that no other has, as clocks with nanoseconds do."""
        self._written += 1
        now_ns = int(self.clocks.time()) * 10**9 + self._written
        os.utime(file, ns=(now_ns, now_ns))

    def _wrote(self, path: bytes, content: bytes) -> None:
        found = self._real(path).stat()
        self.files[path] = content
        version = (path, found.st_size, found.st_mtime_ns)
        self.versions[version] = content
        self.still_since[version] = self.clocks.since_boot
