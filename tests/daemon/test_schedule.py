from datetime import datetime

import pytest

from darkroom.daemon.schedule import is_open, parse_window

MONDAY, SATURDAY, SUNDAY = 5, 10, 11  # of January 2026


def at(day: int, time: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-{day:02} {time}")


@pytest.mark.parametrize(
    ("window", "day", "time", "open_"),
    [
        ("09:00-17:00", MONDAY, "08:59:59", False),
        ("09:00-17:00", MONDAY, "09:00", True),
        ("09:00-17:00", MONDAY, "16:59:59", True),
        ("09:00-17:00", MONDAY, "17:00", False),
        ("22:00-07:00", MONDAY, "23:59", True),
        ("22:00-07:00", MONDAY, "06:59", True),
        ("22:00-07:00", MONDAY, "07:00", False),
        ("sat,sun 00:00-24:00", SATURDAY, "00:00", True),
        ("sat,sun 00:00-24:00", SUNDAY, "23:59:59", True),
        ("sat,sun 00:00-24:00", MONDAY, "00:00", False),
        ("sat 22:00-07:00", SUNDAY, "06:59", True),  # the night belongs to the day on which it began
        ("sat 22:00-07:00", SATURDAY, "06:59", False),
        ("sun 22:00-07:00", MONDAY, "06:59", True),  # over the end of the week
        (" SAT 09:00 - 10:00 ", SATURDAY, "09:30", True),
    ],
)
def test_a_window_is_open_from_its_first_minute_to_before_its_last(
    window: str, day: int, time: str, open_: bool
) -> None:
    assert is_open((parse_window(window),), at(day, time)) is open_


def test_one_open_window_is_enough_and_no_windows_mean_always() -> None:
    windows = (parse_window("mon 01:00-02:00"), parse_window("sat 09:00-10:00"))
    assert is_open(windows, at(SATURDAY, "09:30"))
    assert not is_open(windows, at(SATURDAY, "10:30"))
    assert is_open((), at(MONDAY, "03:00"))


@pytest.mark.parametrize(
    "text",
    [
        *("", "night", "9:00-17:00", "09:00", "25:00-26:00", "24:00-01:00", "10:60-11:00", "10:00-10:61"),
        *("10:00-24:01", "funday 10:00-11:00", "mon,,tue 10:00-11:00", "mon-fri 10:00-11:00"),
    ],
)
def test_what_is_no_window_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_window(text)
