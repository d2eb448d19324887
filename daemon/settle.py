"""How long each file has been still, by our own clock.

The age of a file's mtime says nothing: `cp -p` and rsync give a file an old one at once, clocks of clients differ. So
what counts is the time since we ourselves first saw the file as it is now. It lives in memory: the first scan after a
start begins anew.
"""

from collections.abc import Collection, Hashable


class Settling:
    """Remembers of each path the version last seen and since when it is that."""

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[Hashable, float]] = {}

    def still_s(self, path: bytes, version: Hashable, now: float) -> float:
        """Return for how many seconds `path` has had this `version`: 0 when it is new or has just changed.

        version:  anything that differs once the file has changed
        now:      seconds by the monotonic clock
        """
        seen, since = self._seen.get(path, (None, now))
        if seen != version:
            since = now
        self._seen[path] = (version, since)
        return now - since

    def keep(self, paths: Collection[bytes]) -> None:
        """Forget all but `paths`: the others vanished, or became jobs."""
        for path in self._seen.keys() - set(paths):
            del self._seen[path]

    def __len__(self) -> int:
        return len(self._seen)
