import time

from darkroom.daemon.clock import boot_id, this_boot, unix_now, uptime


def test_the_wall_clock_is_that_of_the_machine() -> None:
    assert abs(unix_now() - time.time()) < 60


def test_uptime_counts_on_from_the_boot_with_suspended_time() -> None:
    first, monotonic = uptime(), time.clock_gettime(time.CLOCK_MONOTONIC)
    assert first <= uptime() and first >= monotonic - 1


def test_a_boot_has_one_name() -> None:
    assert boot_id() == boot_id() and len(boot_id()) == 36


def test_the_date_of_the_boot_stays_as_long_as_nobody_sets_the_clock() -> None:
    first, second = this_boot(), this_boot()
    assert first.id == second.id and abs(first.at - second.at) < 1 and first.at < unix_now()
