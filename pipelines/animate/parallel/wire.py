"""What the worker and the ranks say to each other: JSON in frames, over a socket of their own"""

import json
from dataclasses import asdict
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter

LONGEST = 2**20  # bytes of one message: a plan with its prompts, and room to spare

Value = TypeVar("Value")


def send(pipe: Connection, **words: Any) -> None:
    """Say `words`. Raises OSError if nobody is there to hear them."""
    pipe.send_bytes(json.dumps(words).encode())


def receive(pipe: Connection) -> dict[str, Any]:
    """Give the next words, waiting for them. Raises EOFError if the other end is gone, OSError if it died talking."""
    words: dict[str, Any] = json.loads(pipe.recv_bytes(LONGEST))
    return words


def words_of(value: Any) -> dict[str, Any]:
    """Give a plan, options or another dataclass of plain values as values that JSON holds."""
    content = value if isinstance(value, BaseModel) else asdict(value)
    words: dict[str, Any] = json.loads(json.dumps(content, default=_plain))
    return words


def value_of(kind: type[Value], words: dict[str, Any]) -> Value:
    """Give back what `words_of` was given, a `kind`."""
    return TypeAdapter(kind).validate_python(words)


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path | Fraction):  # not pydantic's to say: a path need not be UTF-8
        return str(value)
    raise TypeError(f"{value!r} is no plain value")
