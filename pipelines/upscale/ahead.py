"""Let a stage of work run ahead of the next in a thread of its own."""

from collections.abc import Generator, Iterable
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Yield `items` in order while a thread makes up to `depth` of them in advance.

    What the thread raises is raised here, after the items before it. Closing the generator (use
    `contextlib.closing`) ends the thread once its present item is made, and waits for that; then
    nothing of `items` runs any more.
    """
    made: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    room, stopped = Semaphore(depth), Event()

    def make() -> None:
        try:
            iterator = iter(items)
            while room.acquire() and not stopped.is_set():
                made.put((next(iterator),))
        except StopIteration:
            made.put(None)
        except BaseException as error:
            made.put(error)
        finally:
            if isinstance(items, Generator):
                items.close()

    thread = Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item[0]
    finally:
        stopped.set()
        room.release()
        thread.join()
