"""The supervisor with real workers that are stopped, killed and left idle."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from house import wait_until
from workshop import Workshop


@pytest.fixture
def open_shop(tmp_path: Path) -> Iterator[Callable[..., Workshop]]:
    """Return a function that makes a workshop with settings of the worker."""
    made: list[Workshop] = []

    def open_it(**worker: object) -> Workshop:
        made.append(Workshop(tmp_path / "shop", worker))
        return made[-1]

    yield open_it
    for shop in made:
        shop.clear()


def test_a_worker_that_stands_still_is_ended_and_its_job_resumed(open_shop: Callable[..., Workshop]) -> None:
    shop = open_shop(step_limit=15)
    go_on = shop.root / "go-on"
    shop.put("nail", "first", f"silent {go_on}")
    shop.start("--drain")
    shop.see("segment 1 of 2 done")
    shop.signal_workers(signal.SIGSTOP)
    shop.see("has not moved for")
    go_on.touch()
    assert shop.wait() == 0
    assert sum("segment 1 of 2 done" in line for line in shop.lines) == 1
    assert list(shop.results()) == ["nail.out"]


def test_an_idle_worker_frees_its_device_and_the_next_job_starts_another(open_shop: Callable[..., Workshop]) -> None:
    shop = open_shop(keep_warm=0.5)
    shop.put("nail")
    shop.start()
    shop.see("done: published as nail.out")
    wait_until(lambda: shop.workers() == [])
    shop.put("pan")
    shop.see("done: published as pan.out")
    assert shop.stop() == 0


def test_a_second_stop_signal_ends_it_at_once_and_nothing_is_lost(open_shop: Callable[..., Workshop]) -> None:
    shop = open_shop(drain=600)
    go_on = shop.root / "go-on"
    shop.put("nail", f"silent {go_on}")
    shop.start()
    shop.see("segments to do")
    shop.signal_workers(signal.SIGSTOP)
    os.kill(shop.pid(), signal.SIGTERM)
    shop.see("a second signal stops at once")
    assert shop.stop(signal.SIGTERM) == 0
    go_on.touch()
    assert shop.drain() == 0
    assert list(shop.results()) == ["nail.out"]


def test_a_configuration_that_is_being_edited_harms_no_worker_that_starts_meanwhile(
    open_shop: Callable[..., Workshop],
) -> None:
    shop = open_shop()
    shop.start()
    shop.see("jobs may start")
    shop.config.write_text("folders: [half of")
    os.kill(shop.pid(), signal.SIGHUP)
    shop.see("going on with the configuration as it was")
    shop.put("nail")
    shop.see("job=1 nail.txt publishing")
    shop.see("done: published as nail.out")
    assert shop.stop() == 0


def test_a_cancel_is_heard_while_a_stop_waits_for_the_running_segment(open_shop: Callable[..., Workshop]) -> None:
    shop = open_shop(drain=600)
    go_on = shop.root / "go-on"
    shop.put("nail", f"silent {go_on}", "last")
    shop.start()
    shop.see("segments to do")
    shop.signal_workers(signal.SIGSTOP)
    os.kill(shop.pid(), signal.SIGTERM)
    shop.see("a second signal stops at once")
    assert shop.command("cancel", "1").returncode == 0
    go_on.touch()
    shop.signal_workers(signal.SIGCONT)
    assert shop.wait() == 0
    assert shop.states() == {"nail": "cancelled"}


def test_a_worker_that_is_preloaded_is_there_before_its_first_job_and_stays(
    open_shop: Callable[..., Workshop],
) -> None:
    shop = open_shop(preload=True, keep_warm=0)
    shop.start()
    wait_until(lambda: len(shop.workers()) == 1)
    first = shop.workers()
    for name in ("nail", "pan"):
        shop.put(name)
        shop.see(f"done: published as {name}.out")
        assert shop.workers() == first, "an idle worker went, though its model was to stay"
    os.kill(shop.pid(), signal.SIGHUP)
    shop.see("is in force")
    wait_until(lambda: len(shop.workers()) == 1 and shop.workers() != first)
    assert shop.stop() == 0


def test_a_preloaded_worker_that_is_killed_comes_back_with_the_next_job(open_shop: Callable[..., Workshop]) -> None:
    shop = open_shop(preload=True)
    shop.start()
    wait_until(lambda: len(shop.workers()) == 1)
    shop.signal_workers(signal.SIGKILL)
    wait_until(lambda: shop.workers() == [])
    shop.put("nail")
    shop.see("done: published as nail.out")
    assert shop.stop() == 0
