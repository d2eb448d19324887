"""How far options reach: a sidecar is written by whoever may write in the inbox, config.yaml by the machine's owner.

Whatever an option names is checked here, for options are read before anything else: files lie below the models folder,
and where pictures are sent is for the owner to say.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel
from pydantic.config import JsonDict

OWNERS: JsonDict = {"only_in": "config.yaml"}  # the `json_schema_extra` of an option that no sidecar may set


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
