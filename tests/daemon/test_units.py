import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.daemon.units import seconds, show_bytes, show_seconds, size_bytes


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (90, 90),
        ("90", 90),
        ("90 s", 90),
        ("1.5 h", 5400),
        ("15min", 900),
        (" 7 D ", 7 * 86400),
        ("1 w", 604800),
        (0, 0),
    ],
)
def test_durations_are_read_with_and_without_a_unit(text: object, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [(2048, 2048), ("2 GiB", 2**31), ("500 MB", 500_000_000), ("1.5kib", 1536), ("7 b", 7), ("1 TiB", 2**40)],
)
def test_sizes_are_read_with_and_without_a_unit(text: object, value: int) -> None:
    assert size_bytes(text) == value


@pytest.mark.parametrize("text", ["", "soon", "-3 s", "3 parsecs", "1e9", True, None, [], "3 s 4", "9" * 400, "3,5 h"])
def test_what_is_no_number_with_a_unit_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="such as 90 s"):
        seconds(text)
    with pytest.raises(ValueError, match="such as 2 GiB"):
        size_bytes(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0 s"), (1.234, "1.23 s"), (41.4, "41 s"), (60, "1 min"), (3599, "59 min 59 s"), (11520, "3 h 12 min")),
        *((86400, "1 d"), (90_000, "1 d 1 h"), (400 * 86400, "400 d")),
    ],
)
def test_durations_are_shown_in_their_two_largest_units(value: float, text: str) -> None:
    assert show_seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1023, "1.02e+03 B"), (1024, "1 KiB"), (1.21 * 2**30, "1.21 GiB"), (2**40, "1 TiB")],
)
def test_sizes_are_shown_with_three_digits(value: float, text: str) -> None:
    assert show_bytes(value) == text


@given(st.integers(60, 10**8))
def test_a_duration_that_is_shown_is_read_back_to_within_its_smaller_unit(value: int) -> None:
    shown = show_seconds(value)
    parts = shown.split()
    read = sum(seconds(f"{number} {unit}") for number, unit in zip(parts[::2], parts[1::2], strict=True))
    assert 0 <= value - read < seconds(f"1 {'s' if value < 3600 else 'min' if value < 86400 else 'h'}")
