"""Durations and sizes as people write them: `90 s`, `15 min`, `7 d`, `2 GiB`."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

SECONDS = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
BYTES = {
    "": 1,
    "b": 1,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}


def _number(text: Any, units: dict[str, int], example: str) -> float:
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([A-Za-z]*)\s*", str(text))
    if match is None or isinstance(text, bool) or match[2].lower() not in units:
        raise ValueError(
            f"expected a number with a unit ({', '.join(unit for unit in units if unit)}), such as {example}"
        )
    return float(match[1]) * units[match[2].lower()]


def seconds(text: Any) -> float:
    """Read a duration; a bare number is seconds. Raises ValueError."""
    return _number(text, SECONDS, "90 s")


def size_bytes(text: Any) -> int:
    """Read a size; a bare number is bytes. Raises ValueError."""
    return int(_number(text, BYTES, "2 GiB"))


def show_seconds(value: float) -> str:
    """Say a duration in its two largest units: `3 h 12 min`, `41 s`."""
    if value < 60:
        return f"{value:.3g} s" if value < 10 else f"{value:.0f} s"
    for unit, below, name, small in ((86400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s")):
        if value >= unit:
            rest = int(value % unit // below)
            return f"{int(value // unit)} {name}" + (f" {rest} {small}" if rest else "")
    raise AssertionError("unreachable: the last unit is a minute")


def show_bytes(value: float) -> str:
    """Say a size with three digits: `1.21 GiB`."""
    for name in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.3g} {name}"
        value /= 1024
    return f"{value:.3g} TiB"


Seconds = Annotated[float, BeforeValidator(seconds)]
Bytes = Annotated[int, BeforeValidator(size_bytes)]
