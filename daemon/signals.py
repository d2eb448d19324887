"""Signals as plain facts: the handlers only take notes, the main loop reads them."""

import signal
import socket
from contextlib import suppress
from types import FrameType


class Signals:
    """Notes SIGTERM, SIGINT and SIGHUP, and wakes whoever waits on `bell`."""

    def __init__(self) -> None:
        """Install the handlers; only in the main thread."""
        self.stops = 0  # SIGTERM and SIGINT so far: one asks for an orderly end, two for an immediate one
        self._reload = False
        self.bell, self._ringer = socket.socketpair()
        for end in (self.bell, self._ringer):
            end.setblocking(False)
        signal.set_wakeup_fd(self._ringer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note)

    def reload(self) -> bool:
        """Tell, once, that SIGHUP came."""
        asked, self._reload = self._reload, False
        return asked

    def ring(self) -> None:
        """Wake whoever waits on `bell`; from any thread."""
        with suppress(BlockingIOError):  # it has been ringing for long
            self._ringer.send(b"\0")

    def quiet(self) -> None:
        """Take in what rang the bell."""
        try:
            while self.bell.recv(4096):
                pass
        except BlockingIOError:
            return

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        else:
            self.stops += 1
