"""Which Wan2.1 I2V lies in the folder of weights, and whether it is whole: digests and architecture, no tensors"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from darkroom.pipelines.animate.layout import (
    CONFIGS,
    INDEX,
    STEMS,
    Component,
    check_weights,
    files_of,
    read_json,
)
from darkroom.pipelines.animate.manifest import Manifest, check_noted, read_manifest
from darkroom.pipelines.digests import digest, measure
from darkroom.pipelines.errors import Unavailable

Resolution = Literal["480p", "720p"]

NAME = "wan2.1-i2v"
RESOLUTIONS: tuple[Resolution, ...] = ("720p", "480p")  # where both are there, the larger one
REPOSITORIES: dict[Resolution, str] = {
    "720p": "Wan-AI/Wan2.1-I2V-14B-720P-Diffusers",
    "480p": "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers",
}
# What `wan2.1-i2v` may lie in: its own folder, one for each resolution, or those that the repositories are called.
ALIASES = (
    NAME,
    *(f"{NAME}-{resolution}" for resolution in RESOLUTIONS),
    *(repository.split("/")[1].lower() for repository in REPOSITORIES.values()),
)
ORIGINALS = tuple(alias.removesuffix("-diffusers") for alias in ALIASES if alias.endswith("-diffusers"))
SHIFTS: dict[float, Resolution] = {5.0: "720p", 3.0: "480p"}  # as published with each


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a model."""

    component: Component
    path: Path
    name: str  # below the model's folder
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The sizes of a model, as its files of configuration have them."""

    layers: int
    heads: int
    head_width: int
    ffn_width: int
    text_width: int
    image_width: int
    in_channels: int  # noise, mask and image
    latent_channels: int
    patch: tuple[int, int, int]  # frames, rows and columns of latents in a token
    temporal_scale: int  # frames in a latent one
    spatial_scale: int  # pixels in a latent one, each way


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A whole model."""

    name: str
    folder: Path
    resolution: Resolution | None  # that it was trained for, where anything tells
    architecture: Architecture
    dtype: str  # of most of the transformer's numbers, as safetensors calls it
    files: tuple[File, ...]
    kind: Literal["diffusers"] = "diffusers"

    @property
    def digests(self) -> tuple[tuple[str, str], ...]:
        """The SHA-256 of each file by name below the folder, in order."""
        return tuple(sorted((file.name, file.sha256) for file in self.files))

    @property
    def sha256(self) -> str:
        """One digest for all files: equal for equal ones, wherever they lie."""
        return _sha256(self.digests)

    def sha256_of(self, *components: Component) -> str:
        """Give one digest for the files of `components`."""
        return _sha256(tuple(sorted((file.name, file.sha256) for file in self.files if file.component in components)))

    def size_bytes_of(self, component: Component) -> int:
        """Give how large the files of `component` are."""
        return sum(file.size_bytes for file in self.files if file.component == component)


def find(models: Path, name: str = NAME) -> Weights:
    """Give the model `name` below `models`; no tensor is read.

    The digests are those remembered beside the files; the first time they are read, at seconds for each gigabyte.
    Raises Unavailable, with the remedy, where files are missing or damaged, or are those of another model.
    """
    try:
        place = locate(models, name)
        if lacking := missing(place):
            raise Unavailable(remedy(place, lacking))
        return read(place)
    except OSError as error:
        raise Unavailable(f"{error.filename}: cannot be read ({error.strerror}); let this user read it") from error


def locate(models: Path, name: str) -> Path:
    """Give the folder of the model `name`: for the default name the first whole one of its aliases. Raises OSError."""
    if not name or Path(name).name != name or name.startswith("."):
        raise Unavailable(f"{name}: no name of a model; name a folder in {models}")
    if name != NAME:
        return models / name
    found = places(models)
    whole = (place for place in found if not missing(place))
    return next(whole, found[0] if found else models / NAME)


def places(models: Path) -> list[Path]:
    """Give the folders below `models` that a model may lie in, the one first that is asked first. Raises OSError."""
    there = sorted(place for place in models.iterdir() if place.is_dir()) if models.is_dir() else []
    return [place for alias in (*ALIASES, *ORIGINALS) for place in there if place.name.lower() == alias]


def listed(models: Path) -> list[Path]:
    """Give all folders below `models` with a model of Wan in one layout or the other. Raises OSError."""
    there = sorted(place for place in models.iterdir() if place.is_dir()) if models.is_dir() else []
    named = places(models)
    return named + [place for place in there if place not in named and (_is_wan(place) or is_original(place))]


def _is_wan(place: Path) -> bool:
    try:
        return str(read_json(place / INDEX).get("_class_name")).startswith("Wan")
    except (FileNotFoundError, Unavailable):
        return False


def missing(place: Path) -> list[Path]:
    """Give the files that a model in `place` lacks."""
    wanted = [place / INDEX, *(path for files in files_of(place).values() for path in files)]
    return [path for path in wanted if not path.is_file()]


def remedy(place: Path, lacking: list[Path]) -> str:
    """Say that the files `lacking` are missing in `place`, and how to get them, in one line."""
    if is_original(place):
        return f"{place}: holds the original files; convert them once: darkroom models import {place}"
    if len(lacking) > len(CONFIGS):
        told = "no weights of Wan2.1 I2V"
    else:
        told = "no " + ", ".join(str(path.relative_to(place)) for path in lacking)
    ways = " or ".join(REPOSITORIES.values())
    return f"{place}: {told}; put there the files of {ways}, or import the original ones: darkroom models import FOLDER"


def is_original(place: Path) -> bool:
    """Tell whether `place` holds the files as the authors' own code reads them."""
    return not (place / INDEX).exists() and any(place.glob("models_t5_*.pth"))


def read(place: Path) -> Weights:
    """Give the model in `place`, where no file is missing. Raises Unavailable, OSError."""
    configs = {component: read_json(place / component / CONFIGS[component]) for component in CONFIGS}
    for reason in foreign(read_json(place / INDEX), configs["transformer"]):
        raise Unavailable(f"{place}: {reason}; put the files of {REPOSITORIES['480p']} there")
    found, notes = files_of(place), read_manifest(place)
    dtypes = {component: check_weights(found[component]) for component in STEMS}
    numbers = list(dtypes["transformer"].values())
    return Weights(
        name=place.name,
        folder=place,
        resolution=notes.resolution if notes else resolution_of(place, configs["scheduler"]),
        architecture=_architecture(place, configs),
        dtype=max(set(numbers), key=numbers.count, default=""),
        files=tuple(_file(place, notes, component, path) for component, paths in found.items() for path in paths),
    )


def foreign(index: dict[str, Any], transformer: dict[str, Any]) -> Iterator[str]:
    """Yield why a model is not one of Wan2.1 that starts from an image and words alone."""
    if index.get("transformer_2", [None])[0] or index.get("boundary_ratio"):
        yield "is Wan2.2, with two transformers, which is not supported"
    if transformer.get("pos_embed_seq_len"):
        yield "is Wan2.1 FLF2V, which wants a last image too, and is not supported"
    if index.get("_class_name") == "WanPipeline" or transformer.get("in_channels") == 16:
        yield "is a Wan T2V, which takes no image"
    for name, config, wanted in (
        (INDEX, index, "WanImageToVideoPipeline"),
        ("the transformer", transformer, "WanTransformer3DModel"),
    ):
        if (found := config.get("_class_name")) != wanted:
            yield f"{name} is of the class {found} and not {wanted}"
    if transformer.get("in_channels") != 36 or not transformer.get("image_dim"):
        yield "its transformer is not that of Wan2.1 I2V (36 channels in, and an image's embedding)"


def resolution_of(place: Path, scheduler: dict[str, Any]) -> Resolution | None:
    """Give what the model was trained for, by its folder's name or the schedule published with it."""
    named = next((resolution for resolution in RESOLUTIONS if resolution in place.name.lower()), None)
    return named or SHIFTS.get(scheduler.get("flow_shift", 0.0))


def _architecture(place: Path, configs: dict[Component, dict[str, Any]]) -> Architecture:
    wan, vae = configs["transformer"], configs["vae"]
    try:
        halvings = vae["temperal_downsample"]  # [sic]
        return Architecture(
            layers=wan["num_layers"],
            heads=wan["num_attention_heads"],
            head_width=wan["attention_head_dim"],
            ffn_width=wan["ffn_dim"],
            text_width=wan["text_dim"],
            image_width=wan["image_dim"],
            in_channels=wan["in_channels"],
            latent_channels=vae["z_dim"],
            patch=tuple(wan["patch_size"]),
            temporal_scale=2 ** sum(map(bool, halvings)),
            spatial_scale=2 ** len(halvings),
        )
    except (KeyError, TypeError) as error:
        raise Unavailable(f"{place}: its configuration lacks {error}; fetch the .json files again") from error


def _file(place: Path, notes: Manifest | None, component: Component, path: Path) -> File:
    name, size_bytes = str(path.relative_to(place)), path.stat().st_size
    check_noted(place, notes, name, size_bytes)  # before it is read to its end
    sha256 = digest(path) if path.suffix == ".safetensors" else measure(path)
    check_noted(place, notes, name, size_bytes, sha256)
    return File(component=component, path=path, name=name, size_bytes=size_bytes, sha256=sha256)


def _sha256(digests: tuple[tuple[str, str], ...]) -> str:
    return hashlib.sha256("".join(f"{name} {sha256}\n" for name, sha256 in digests).encode()).hexdigest()
