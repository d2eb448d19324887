"""What an import reads: a folder of Wan2.1 I2V in either layout, known to be whole; no tensor is read"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from darkroom.pipelines.animate import layout
from darkroom.pipelines.animate.convert import original
from darkroom.pipelines.animate.layout import CONFIGS, INDEX, STEMS, Component
from darkroom.pipelines.animate.weights import Resolution, foreign, missing, remedy, resolution_of
from darkroom.pipelines.errors import Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A whole folder."""

    place: Path
    original: bool  # laid out as its authors publish it; else as the library loads it
    resolution: Resolution | None
    files: Mapping[Component, tuple[Path, ...]]  # those that are read, with what tells of them

    @property
    def tokenizer(self) -> Path:
        """The folder of the tokenizer."""
        return self.place / (original.TOKENIZER if self.original else "tokenizer")

    def weights(self, component: Component) -> tuple[Path, ...]:
        """Give the files that hold the tensors of `component`."""
        return tuple(path for path in self.files[component] if path.suffix != ".json")


def source_at(place: Path) -> Source:
    """Give what there is to import in `place`.

    Raises Unavailable, with the remedy, where files are missing or cut short, or are those of another model; OSError.
    """
    found = original.looks_original(place) or not (place / INDEX).is_file()
    source = _original(place) if found else _published(place)
    for component in STEMS:
        layout.check_weights(source.files[component])
    return source


def _original(place: Path) -> Source:
    original.check(place)
    files = original.files_of(place)
    return Source(place=place, original=True, resolution=original.resolution_of(place), files=files)


def _published(place: Path) -> Source:
    if lacking := missing(place):
        raise Unavailable(remedy(place, lacking))
    configs = {name: layout.read_json(place / name / CONFIGS[name]) for name in ("transformer", "scheduler")}
    for reason in foreign(layout.read_json(place / INDEX), configs["transformer"]):
        raise Unavailable(f"{place}: {reason}")
    resolution = resolution_of(place, configs["scheduler"])
    return Source(place=place, original=False, resolution=resolution, files=layout.files_of(place))
