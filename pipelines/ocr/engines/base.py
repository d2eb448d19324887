"""What an engine is: it reads a picture and says by what it did; the digests of model files are worked out here"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol

from darkroom.pipelines.digests import measure
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.page import Line, Region, Table
from darkroom.pipelines.ocr.picture import Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What an engine made of a picture, in pixels of that picture."""

    lines: tuple[Line, ...]  # in no order that means anything, weak ones included
    regions: tuple[Region, ...] = ()  # of engines that see structure too, else none
    tables: tuple[Table, ...] = ()
    warnings: tuple[str, ...] = ()


class Engine(Protocol):
    """Reads pictures; one per worker, for it holds its models in memory."""

    @property
    def name(self) -> str:
        """As in the options: "rapidocr"."""

    @property
    def version(self) -> str:
        """Of the software."""

    @property
    def models(self) -> Mapping[str, str]:
        """SHA-256 of each model file, by name."""

    @property
    def provider(self) -> str:
        """What really computes: "onnxruntime CPUExecutionProvider"."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of how it came up: a GPU asked for and not had."""

    def read(self, picture: Picture) -> Reading:
        """Give the lines of `picture`. Raises Unavailable if the machine fails."""


def load(module: str, package: str, extra: str) -> ModuleType:
    """Give the optional module `module`. Raises Unavailable with the way to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise Unavailable(
            f"{package}: cannot be loaded ({error}); install it with pip install 'darkroomd[{extra}]'"
        ) from error


def digests(files: Iterable[Path]) -> dict[str, str]:
    """Give the SHA-256 of `files` by name; each is read once per process for as long as it stays the same.

    Nothing is noted on the disk: they lie where packages were installed. Raises Unavailable if one is missing.
    """
    return {path.name: _digest(path) for path in files}


def _digest(path: Path) -> str:
    try:
        status = path.stat()
        return _measured(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise Unavailable(
            f"{path}: cannot be read ({os.strerror(error.errno or 0)}); put the model file there"
        ) from error


@lru_cache(maxsize=64)
def _measured(path: Path, _size_bytes: int, _mtime_ns: int) -> str:
    return measure(path)
