"""How fast jobs go into and out of the journal, and out of three queues anyone could use instead, equally durable."""

import importlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from rows import Asked, Row, asked, publish, spent

from darkroom.daemon.job import Job, NewJob, Signature
from darkroom.daemon.journal import Journal
from darkroom.daemon.states import State

FOLDER = "films"
BATCH = 1000  # jobs that are put at once
ROUNDS, SLICE_S = 9, 0.5  # many short turns: a neighbour that floods the disk spoils few of them
FULL = 2  # PRAGMA synchronous: every commit is on the disk when it returns


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast an operation went, and what it computed each time."""

    a_second: float
    cpu_ms: float


class Queue(Protocol):
    """What is asked of a queue. `put_many` and `finish` may be None: it has no such thing."""

    name: str
    put_many: Callable[[Iterable[int]], object] | None
    finish: Callable[[Any], object] | None

    def fill(self, count: int) -> None:
        """Queue so many jobs in any way that is quick."""

    def synchronous(self) -> int:
        """Return what SQLite says of its durability, FULL or less."""

    def put(self, number: int) -> object:
        """Queue one job."""

    def take(self) -> Any:
        """Take the next job, for `finish`."""


class Ours:
    """The journal of the daemon: a job goes through all its states, and each move leaves an event."""

    name = "Darkroom's journal"

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / "ours.db")

    def fill(self, count: int) -> None:
        self.put_many(range(count))

    def synchronous(self) -> int:
        return _synchronous(self._journal._sql)

    def put(self, number: int) -> object:
        return self.put_many([number])

    def put_many(self, numbers: Iterable[int]) -> object:
        return self._journal.enqueue([arrival(number) for number in numbers], time.time())

    def take(self) -> Job | None:
        return self._journal.claim([FOLDER], now=time.time(), uptime=time.monotonic(), boot="this one")

    def finish(self, job: Job) -> object:
        self._journal.move(job.id, State.PUBLISHING, "as film.mp4", now=time.time(), result=b"film.mp4")
        return self._journal.move(job.id, State.DONE, "published as film.mp4", now=time.time())


class Huey:
    """Taking deletes the row: what was taken before a crash is lost."""

    name = "huey SqliteHuey, fsync"
    put_many = finish = None

    def __init__(self, folder: Path) -> None:
        self._make = importlib.import_module("huey.storage").SqliteStorage
        self._file = str(folder / "huey.db")
        self._storage = self._make(filename=self._file, fsync=True)

    def fill(self, count: int) -> None:
        quick = self._make(filename=self._file, fsync=False)
        for number in range(count):
            quick.enqueue(path(number))
        quick.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        quick.close()

    def synchronous(self) -> int:
        return _synchronous(self._storage.conn)

    def put(self, number: int) -> object:
        return self._storage.enqueue(path(number))

    def take(self) -> object:
        return self._storage.dequeue()


class Litequeue:
    """As installed it commits with synchronous=NORMAL; here it is told FULL."""

    name = "litequeue, set to FULL"
    put_many = None

    def __init__(self, folder: Path) -> None:
        self._queue = importlib.import_module("litequeue").LiteQueue(str(folder / "lite.db"))
        self._queue.conn.execute("PRAGMA synchronous = FULL")

    def fill(self, count: int) -> None:
        self._queue.conn.execute("PRAGMA synchronous = OFF")
        with self._queue.transaction():
            for number in range(count):
                self._queue.put(path(number).decode())
        self._queue.conn.execute("PRAGMA synchronous = FULL")
        self._queue.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def synchronous(self) -> int:
        return _synchronous(self._queue.conn)

    def put(self, number: int) -> object:
        return self._queue.put(path(number).decode())

    def take(self) -> Any:
        return self._queue.pop()

    def finish(self, message: Any) -> object:
        return self._queue.done(message.message_id)


class PersistQueue:
    name = "persist-queue SQLiteAckQueue"
    put_many = None

    def __init__(self, folder: Path) -> None:
        self._queue = importlib.import_module("persistqueue").SQLiteAckQueue(str(folder / "persist"))

    def fill(self, count: int) -> None:
        self._queue._putter.execute("PRAGMA synchronous = OFF")
        for number in range(count):
            self._queue.put(path(number))
        self._queue._putter.execute("PRAGMA synchronous = FULL")
        self._queue._putter.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def synchronous(self) -> int:
        return _synchronous(self._queue._putter)

    def put(self, number: int) -> object:
        return self._queue.put(path(number))

    def take(self) -> Any:
        return self._queue.get(block=False)

    def finish(self, item: Any) -> object:
        return self._queue.ack(item)


PEERS: tuple[type[Any], ...] = (Ours, Huey, Litequeue, PersistQueue)


def main() -> None:
    ask = asked("Jobs a second into and out of four SQLite queues, each commit flushed to the disk.")
    rows, absent = [], []
    for backlog in (200, 400) if ask.quick else (20_000, 200_000):
        with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
            queues: list[Queue] = []
            for peer in PEERS:
                try:
                    queues.append(peer(Path(folder)))
                except ImportError as error:
                    absent.append(f"{peer.name}: not run, {error}.")
            rows += compared(queues, backlog, ask)
    publish("queues", rows, [notes(ask), *sorted(set(absent))], ask)


def compared(queues: list[Queue], backlog: int, ask: Asked) -> list[Row]:
    """Measure `queues` with so many jobs in each, all of them in each round, in the same order."""
    seconds, rounds = (0.1, 1) if ask.quick else (SLICE_S, ROUNDS)
    for queue in queues:
        queue.fill(backlog)
        if queue.synchronous() != FULL:
            raise RuntimeError(f"{queue.name}: commits without a flush; it would be compared unfairly")
    turns = [
        {queue.name: measured(queue, backlog + 10_000 * turn, seconds) for queue in queues} for turn in range(rounds)
    ]
    return [
        {"queue": queue.name, "queued": f"{backlog:,}"}
        # A dash says that the queue has no such operation.
        | {
            key: median(turn[queue.name][key] for turn in turns) if one else "–"
            for key, one in turns[0][queue.name].items()
        }
        for queue in queues
    ]


def measured(queue: Queue, first: int, seconds: float) -> dict[str, float]:
    """Return operations a second, each tried for so long, and the work in one job; 0 for what the queue lacks."""
    numbers = count(first)
    taken: list[Any] = []
    put = paced(lambda: queue.put(next(numbers)), seconds)
    many = end = Pace(a_second=0, cpu_ms=0)
    if (put_many := queue.put_many) is not None:
        batches = count(100_000_000 + BATCH * first, BATCH)
        many = paced(lambda: put_many(range(start := next(batches), start + BATCH)), seconds, at_most=5)
    take, finish = paced(lambda: taken.append(queue.take()), seconds), queue.finish
    if finish is not None:
        end = paced(lambda: finish(taken.pop()), seconds, len(taken))
    return {
        "put/s": put.a_second,
        f"put/s, {BATCH:,} at once": BATCH * many.a_second,
        "take/s": take.a_second,
        "finish/s": end.a_second,
        "CPU-ms a job, put to finish": put.cpu_ms + take.cpu_ms + end.cpu_ms,
    }


def paced(operation: Callable[[], object], seconds: float, at_most: int = 5_000) -> Pace:
    """Do `operation` for `seconds`, once at least, and say how that went."""
    done = 0

    def work() -> None:
        nonlocal done
        began = time.perf_counter()
        while done < at_most and (done == 0 or time.perf_counter() - began < seconds):
            operation()
            done += 1

    took = spent(work)
    return Pace(a_second=done / took.wall_s, cpu_ms=1000 * took.cpu_s / done)


def path(number: int) -> bytes:
    return f"series/film {number:09}.mkv".encode()


def arrival(number: int) -> NewJob:
    signature = Signature(size_bytes=1_000_000 + number, mtime_ns=number, inode=number)
    return NewJob(folder=FOLDER, pipeline="upscale", path=path(number), signature=signature, content=f"{number:032x}")


def _synchronous(connection: Any) -> int:
    return int(connection.execute("PRAGMA synchronous").fetchone()[0])


def flush_ms(folder: Path, times: int) -> float:
    """Return the median of what `fdatasync` of 4 KiB takes, in milliseconds: the floor of every single commit."""
    took = []
    with (folder / "flushed").open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(1000 * (time.perf_counter() - began))
    return median(took)


def notes(ask: Asked) -> str:
    """Return what the table does not say."""
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        flush = flush_ms(Path(folder), 10 if ask.quick else 200)
    return (
        f"Medians of {ROUNDS} rounds, all queues in each round in the same order, on one disk in one process; every "
        f"connection says `synchronous=FULL`. `fdatasync` of 4 KiB took {flush:.2f} ms. The journal's `finish` is "
        "two commits (publishing, done) and each of its moves writes an event; the others keep no history, and huey "
        "deletes what it hands out, so that a crash loses it. The disk sets these rates and others use it: factors "
        "below two between rows say little."
    )


if __name__ == "__main__":
    main()
