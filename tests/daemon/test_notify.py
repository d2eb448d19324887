import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.daemon.notify import Systemd


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening manager's socket, and how it is called in NOTIFY_SOCKET."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@darkroom-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if name.startswith("@") else name)
        listener.settimeout(10)
        yield listener, name


def test_words_arrive_as_systemd_reads_them(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    systemd = Systemd({"NOTIFY_SOCKET": name})
    systemd.ready()
    systemd.alive()
    systemd.stopping(1.5)
    systemd.status("job 41 holiday.mkv: segment 2 of 7")
    assert [listener.recv(4096) for _ in range(4)] == [
        b"READY=1",
        b"WATCHDOG=1",
        b"STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000",
        b"STATUS=job 41 holiday.mkv: segment 2 of 7",
    ]


def test_a_status_is_one_line_and_can_hold_no_other_word(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    Systemd({"NOTIFY_SOCKET": name}).status("two\nREADY=1\n lines")
    assert listener.recv(4096) == b"STATUS=two READY=1 lines"
    Systemd({"NOTIFY_SOCKET": name}).status("clear \x1b[2J it")
    assert listener.recv(4096) == rb"STATUS=clear \x1b[2J it"


def test_a_status_with_odd_bytes_of_a_path_is_still_text(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    Systemd({"NOTIFY_SOCKET": name}).status(os.fsdecode(b"/in/\xff: is it mounted?"))
    assert listener.recv(4096).decode() == r"STATUS=/in/\udcff: is it mounted?"


@pytest.mark.parametrize("name", [None, "", "/nowhere/notify", "@nobody-listens", "/" + "long" * 100])
def test_without_a_manager_words_are_lost_in_silence(name: str | None) -> None:
    systemd = Systemd({} if name is None else {"NOTIFY_SOCKET": name})
    systemd.ready()
    systemd.alive()
    assert systemd.watchdog_s == 0


def test_a_manager_that_does_not_listen_blocks_nothing(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    systemd = Systemd({"NOTIFY_SOCKET": name})
    for _ in range(2000):  # more than a datagram socket queues
        systemd.alive()
    listener.setblocking(False)
    heard = 0
    with pytest.raises(BlockingIOError):
        while listener.recv(4096):
            heard += 1
    assert 0 < heard < 2000, "the queue was never full"
    systemd.ready()
    assert listener.recv(4096) == b"READY=1"


def test_the_end_of_the_start_is_said_until_it_is_heard(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    systemd = Systemd({"NOTIFY_SOCKET": name})
    for _ in range(2000):
        systemd.status("the queue is full of this")
    systemd.ready()
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        while words := listener.recv(4096):
            assert words != b"READY=1", "it was not lost"
    systemd.alive()
    systemd.alive()
    assert [listener.recv(4096) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_the_watchdog_period_is_that_meant_for_this_process(environ: dict[str, str], seconds: float) -> None:
    assert Systemd(environ).watchdog_s == seconds
