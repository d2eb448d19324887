"""A clock for tests, in place of a module's `time`."""


class Clock:
    """A monotonic clock that a test winds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now
