"""How far files and options reach that come from strangers: whoever may write in the inbox writes sidecars as well.

Files that options name lie below the models folder; where pictures are sent is for the owner of config.yaml to say; and
of the formats that Pillow knows, those are read that need nothing but Pillow.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel
from pydantic.config import JsonDict

OWNERS: JsonDict = {"only_in": "config.yaml"}  # the `json_schema_extra` of an option that no sidecar may set

# Told by their content, whatever their names. Left out are those which others read: EPS, which Pillow hands to the
# program Ghostscript, and the likes of WMF, FITS or FPX, which no scanner or camera writes.
PICTURES = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def below_models(path: Path) -> Path:
    """Return `path` if it leads to something below the folder it starts at. Raises ValueError."""
    if path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise ValueError("expected a path below the models folder, without `..`")
    return path


BelowModels = Annotated[Path, AfterValidator(below_models)]


def for_owners(model: type[BaseModel], options: Mapping[str, Any], below: str = "") -> Iterator[str]:
    """Yield the keys of `options` that only config.yaml may set, those of nested ones with dots.

    model:  of the pipeline's options; what it does not know is left to its own check
    """
    for name, value in options.items():
        field = model.model_fields.get(name)
        if field is None:
            continue
        key, extra, inner = f"{below}{name}", field.json_schema_extra, field.annotation
        if isinstance(extra, dict) and OWNERS.items() <= extra.items():
            yield key
        elif isinstance(value, Mapping) and isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from for_owners(inner, value, f"{key}.")
