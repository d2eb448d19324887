"""Words to systemd over its notify socket (sd_notify(3)); silence where there is no systemd."""

import os
import socket
from collections.abc import Mapping

from darkroom.daemon.job import printable


class Systemd:
    """The service manager that started us, or none."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Find the socket and the watchdog period in `environ`."""
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        period_us = environ.get("WATCHDOG_USEC", "0")
        self._ready_is_due = False  # it was said, and not heard
        self.watchdog_s = int(period_us) / 1e6 if mine and period_us.isdigit() else 0.0  # 0: nobody watches

    def ready(self) -> None:
        """Say that the start is over; where that is lost, `alive` says it again: systemd waits for this word."""
        self._ready_is_due = not self._send("READY=1")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        self._send("STATUS=" + printable(" ".join(text.split()).encode(errors="backslashreplace")))

    def alive(self) -> None:
        """Say that the main loop goes round."""
        if self._ready_is_due:
            self.ready()
        self._send("WATCHDOG=1")

    def stopping(self, extend_s: float) -> None:
        """Say that the stop is under way and ask for `extend_s` more seconds from now."""
        self._send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(extend_s * 1e6)}")

    def _send(self, words: str) -> bool:
        """Tell whether `words` got through, or there is nobody to hear them."""
        if not self._address:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as door:
                door.sendto(words.encode(errors="backslashreplace"), self._address)
        except OSError:
            return False  # a missing or full socket must not stop the work; systemd's own watchdog is the answer
        return True
