import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.daemon.job import Signature, printable


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"holiday.mkv", "holiday.mkv"),
        ("Café 映画.mkv".encode(), "Café 映画.mkv"),
        (b"new\nline\ttab.mkv", r"new\nline\ttab.mkv"),
        (b"\x1b[31mred\x07.mkv", r"\x1b[31mred\x07.mkv"),
        (b"bad \xff\xfe.mkv", r"bad \xff\xfe.mkv"),
        ("turned \u202egpj.exe".encode(), r"turned \u202egpj.exe"),
        ("c1 \x9b31m.mkv".encode(), r"c1 \x9b31m.mkv"),
        (b"", ""),
    ],
)
def test_a_path_is_shown_without_what_would_drive_a_terminal(path: bytes, shown: str) -> None:
    assert printable(path) == shown


@given(st.binary(max_size=300))
def test_whatever_the_bytes_the_shown_path_is_one_printable_line(path: bytes) -> None:
    shown = printable(path)
    assert shown.isprintable()
    assert printable(shown.encode()) == shown


def test_values_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Signature(size_bytes=1, mtime_ns=2, inode=3).inode = 4  # type: ignore[misc]
