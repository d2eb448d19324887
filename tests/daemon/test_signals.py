import os
import select
import signal
from collections.abc import Iterator

import pytest

from darkroom.daemon.signals import Signals

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def signals() -> Iterator[Signals]:
    """Signals whose handlers are gone after the test."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    wakeup = signal.set_wakeup_fd(-1)
    yield Signals()
    signal.set_wakeup_fd(wakeup)
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def rings(signals: Signals) -> bool:
    return bool(select.select([signals.bell], [], [], 0)[0])


def test_nothing_is_asked_at_first(signals: Signals) -> None:
    assert (signals.stops, signals.reload(), rings(signals)) == (0, False, False)
    signals.quiet()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_counted_so_that_a_second_can_be_told_from_the_first(signals: Signals, number: int) -> None:
    send(number)
    assert signals.stops == 1
    send(signal.SIGTERM)
    assert signals.stops == 2 and not signals.reload()


def test_a_hangup_asks_once_for_a_reload_and_stops_nothing(signals: Signals) -> None:
    send(signal.SIGHUP)
    assert [signals.reload(), signals.reload(), signals.stops] == [True, False, 0]


@pytest.mark.parametrize("number", NUMBERS)
def test_any_of_them_rings_the_bell_until_it_is_quieted(signals: Signals, number: int) -> None:
    send(number)
    assert rings(signals)
    signals.quiet()
    assert not rings(signals)


def test_a_bell_that_nobody_quiets_does_not_block_the_next_signal(signals: Signals) -> None:
    signals.bell.setblocking(False)
    for _ in range(5000):
        send(signal.SIGHUP)
    send(signal.SIGTERM)
    assert signals.stops == 1
    signals.quiet()
    assert not rings(signals)


def test_another_thread_can_ring_as_often_as_it_likes(signals: Signals) -> None:
    for _ in range(100_000):
        signals.ring()
    assert rings(signals) and signals.stops == 0
    signals.quiet()
    assert not rings(signals)
