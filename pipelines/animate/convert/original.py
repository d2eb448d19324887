"""The folder of Wan2.1 I2V as its authors publish it: its files by component, and what it is; no tensor is read"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.pipelines.animate.layout import CONFIGS, STEMS, WORDS, Component, read_json, shards
from darkroom.pipelines.animate.weights import RESOLUTIONS, Resolution
from darkroom.pipelines.errors import Unavailable

CONFIG = "config.json"
TOKENIZER = "google/umt5-xxl"  # a folder
REPOSITORIES: dict[Resolution, str] = {"720p": "Wan-AI/Wan2.1-I2V-14B-720P", "480p": "Wan-AI/Wan2.1-I2V-14B-480P"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published file whose digest is known."""

    name: str
    size_bytes: int
    sha256: str


PUBLISHED: dict[Component, Published] = {  # alike for both resolutions
    "text_encoder": Published(
        name="models_t5_umt5-xxl-enc-bf16.pth",
        size_bytes=11_361_920_418,
        sha256="7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d",
    ),
    "image_encoder": Published(
        name="models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
        size_bytes=4_772_359_047,
        sha256="628c9998b613391f193eb67ff68da9667d75f492911e4eb3decf23460a158c38",
    ),
    "vae": Published(
        name="Wan2.1_VAE.pth",
        size_bytes=507_609_880,
        sha256="38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981",
    ),
}


def files_of(place: Path) -> dict[Component, tuple[Path, ...]]:
    """Give the files of each component that an import reads, whether they are there or not. Raises Unavailable."""
    words = [place / TOKENIZER / name for name in WORDS]
    return {
        "transformer": (place / CONFIG, *_shards(place)),
        **{component: (place / published.name,) for component, published in PUBLISHED.items()},
        "tokenizer": (
            place / TOKENIZER / CONFIGS["tokenizer"],
            next((path for path in words if path.is_file()), words[0]),
        ),
    }


def _shards(place: Path) -> Iterator[Path]:
    whole = place / f"{STEMS['transformer']}.safetensors"
    index = place / f"{whole.name}.index.json"
    if whole.is_file() and not index.is_file():
        yield whole
    else:
        yield index
        if index.is_file():
            yield from (place / name for name in sorted(set(shards(index).values())))


def looks_original(place: Path) -> bool:
    """Tell whether some of `place` is as the authors of Wan publish it."""
    known = [place / published.name for component, published in PUBLISHED.items() if component != "vae"]
    return any(path.exists() for path in known) or _is_wan(place / CONFIG)


def check(place: Path) -> None:
    """Raise Unavailable unless all files are there, and those of Wan2.1 I2V."""
    if not place.is_dir():
        raise Unavailable(f"{place}: is no folder; name the one that holds the published files")
    if (place / CONFIG).is_file():
        for reason in foreign(place, read_json(place / CONFIG)):
            raise Unavailable(f"{place}: {reason}; fetch {REPOSITORIES['480p']} or {REPOSITORIES['720p']}")
    if lacking := [path for files in files_of(place).values() for path in files if not path.is_file()]:
        names = ", ".join(str(path.relative_to(place)) for path in lacking)
        raise Unavailable(f"{place}: no {names}; fetch {REPOSITORIES[resolution_of(place) or '480p']} to the end")


def foreign(place: Path, config: dict[str, Any]) -> Iterator[str]:
    """Yield why the transformer that `config` is of is not that of Wan2.1 I2V."""
    kind = config.get("model_type")
    if (place / "high_noise_model").exists() or (place / "low_noise_model").exists():
        yield "is Wan2.2, with two transformers, which is not supported"
    if kind == "flf2v":
        yield "is Wan2.1 FLF2V, which wants a last image too, and is not supported"
    if kind == "t2v":
        yield "is a Wan T2V, which takes no image"
    if kind != "i2v" or config.get("in_dim") != 36:
        yield f"its {CONFIG} is not that of Wan2.1 I2V (model_type i2v, in_dim 36)"


def resolution_of(place: Path) -> Resolution | None:
    """Give what the weights were trained for, by the name of their folder."""
    return next((resolution for resolution in RESOLUTIONS if resolution in place.name.lower()), None)


def _is_wan(path: Path) -> bool:
    return path.is_file() and read_json(path).get("_class_name") == "WanModel"
