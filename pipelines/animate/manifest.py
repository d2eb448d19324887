"""What is noted in a folder of imported weights: of each file its size and digest, and where it came from"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from darkroom.pipelines.errors import Unavailable

MANIFEST = "manifest.json"


class Noted(BaseModel):
    """A file as it was written or read."""

    model_config = ConfigDict(frozen=True)

    size_bytes: int
    sha256: str


class Manifest(BaseModel):
    """What an import wrote, and what it read."""

    model_config = ConfigDict(frozen=True)

    resolution: Literal["480p", "720p"] | None  # that the weights were trained for, where anything told
    files: dict[str, Noted]  # by name below the folder
    sources: dict[str, Noted]  # the original files


def read_manifest(place: Path) -> Manifest | None:
    """Give what is noted in `place`, None where nothing is. Raises Unavailable if damaged."""
    path = place / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise Unavailable(f"{path}: damaged; remove {place} and import the weights again") from error


def check_noted(place: Path, manifest: Manifest | None, name: str, size_bytes: int, sha256: str | None = None) -> None:
    """Raise Unavailable if the file `name` in `place` is not what its import wrote."""
    note = manifest.files.get(name) if manifest else None
    if note and size_bytes != note.size_bytes:
        raise Unavailable(
            f"{place / name}: damaged, {size_bytes} bytes and not {note.size_bytes}; remove {place} and import again"
        )
    if note and sha256 not in (None, note.sha256):
        raise Unavailable(
            f"{place / name}: damaged, its SHA-256 is not that in {MANIFEST}; remove {place} and import again"
        )
