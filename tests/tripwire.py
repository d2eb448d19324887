"""Notices who opens a file or knocks at an address: libraries written in C are seen too."""

import ctypes
import os
import socket
import struct
import threading
from pathlib import Path

IN_OPEN, IN_NONBLOCK = 0x20, 0o4000  # sys/inotify.h, and O_NONBLOCK
LIBC = ctypes.CDLL(None, use_errno=True)
EVENT = struct.Struct("iIII")


class Decoy:
    """A file that nobody has a reason to open; to be asked how often somebody did."""

    def __init__(self, path: Path, content: bytes = b"secret") -> None:
        path.write_bytes(content)
        self.path = path
        self._handle = LIBC.inotify_init1(IN_NONBLOCK)
        assert self._handle >= 0 and LIBC.inotify_add_watch(self._handle, os.fsencode(path), IN_OPEN) >= 0
        path.read_bytes()
        assert self.opened() == 1, "the wire itself is broken"

    def opened(self) -> int:
        """Return how often the file was opened since this was asked before; equal events in a row are one."""
        try:
            events = os.read(self._handle, 2**16)
        except BlockingIOError:
            return 0
        return len(events) // EVENT.size

    def close(self) -> None:
        os.close(self._handle)


class Door:
    """An address of this machine that nobody has a reason to call."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=8)
        self._socket.setblocking(False)
        self._porter: threading.Thread | None = None
        self._calls = 0
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"
        with socket.create_connection(self._socket.getsockname()):
            assert self.knocked(), "nobody would hear a knock"

    def hang_up(self) -> None:
        """Answer each call by ending it, from now on; else callers wait."""
        self._socket.setblocking(True)
        self._porter = threading.Thread(target=self._serve, daemon=True)
        self._porter.start()

    def knocked(self) -> bool:
        """Tell whether somebody called since this was asked before."""
        if self._porter is None:
            self._answer_one()
        calls, self._calls = self._calls, 0
        return calls > 0

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if self._porter is not None:
            self._porter.join()

    def _serve(self) -> None:
        while self._answer_one():
            pass

    def _answer_one(self) -> bool:
        try:
            self._socket.accept()[0].close()
        except OSError:  # nobody calls, or the door is closed for good
            return False
        self._calls += 1
        return True
