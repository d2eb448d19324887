"""Which files FlashVSR needs, which versions they are of, and where they lie: everything short of reading a tensor"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from darkroom.pipelines.digests import digest
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.flashvsr.architecture import Role

Number = Literal["1", "1.1"]
Version = Literal["auto", "1", "1.1"]
Variant = Literal["tiny", "tiny-long", "full"]

NUMBERS: tuple[Number, ...] = ("1.1", "1")  # the better one first
FOLDERS: dict[Number, str] = {"1": "flashvsr-v1", "1.1": "flashvsr-v1.1"}
UNVERSIONED = "flashvsr"  # a folder that says nothing: its version is known by digest, or must be set
REPOSITORIES: dict[Number, str] = {"1": "JunhaoZhuang/FlashVSR", "1.1": "JunhaoZhuang/FlashVSR-v1.1"}
PROMPT_PLACE = "examples/WanVSR/prompt_tensor of the official code repository"

NAMES: dict[Role, str] = {  # as published, alike for both versions
    "dit": "diffusion_pytorch_model_streaming_dmd.safetensors",
    "lq": "LQ_proj_in.ckpt",
    "decoder": "TCDecoder.ckpt",
    "vae": "Wan2.1_VAE.pth",
    "prompt": "posi_prompt.pth",
}
FOLDED = "LQ_proj_in."  # begins the names of the projection's tensors where they lie in the transformer's file

MANIFEST = "manifest.json"  # of a converted set


class Source(BaseModel):
    """The file that another was converted from."""

    model_config = ConfigDict(frozen=True)

    name: str
    size_bytes: int
    sha256: str


class Converted(BaseModel):
    """A converted file, as its manifest has it."""

    model_config = ConfigDict(frozen=True)

    role: Role
    size_bytes: int
    sha256: str
    source: Source


class Manifest(BaseModel):
    """What is noted of the converted files in a folder."""

    model_config = ConfigDict(frozen=True)

    version: Number
    dtype: str
    files: dict[str, Converted] = {}  # by name


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published file whose digest is known; those of version 1 are not."""

    role: Role
    size_bytes: int
    sha256: str
    version: Number | None = None  # that it gives away; None: nothing is known of which versions it belongs to


PUBLISHED = (
    Published(
        role="dit",
        size_bytes=5_676_070_392,
        sha256="bd28180edcf3446c028e32fc6b731a80bf7e4da2ab4caac3186b9499964d37be",
        version="1.1",
    ),
    Published(
        role="lq",
        size_bytes=575_694_948,
        sha256="d6d011cdaaba6a52645086caa08fa04124e746f6ca568140a24007591142bfd2",
        version="1.1",
    ),
    Published(  # published with 1.1; whether version 1 came with the same one is not known
        role="decoder",
        size_bytes=189_018_333,
        sha256="e224bdcf2f52745cbf4d393ff5374c2ba09e90285d5d19062d2bf63b915b6161",
    ),
    Published(  # of Wan2.1, as it is
        role="vae",
        size_bytes=507_609_880,
        sha256="38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981",
    ),
)
VERSION_OF: dict[str, Number] = {known.sha256: known.version for known in PUBLISHED if known.version}


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a set."""

    role: Role
    path: Path
    size_bytes: int
    sha256: str
    source_sha256: str  # of the published file it is, or was converted from


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A whole set of files, of one version."""

    version: Number
    files: tuple[File, ...]  # the projection's may be the transformer's
    warnings: tuple[str, ...] = ()

    @property
    def causal(self) -> bool:
        """How the projection sees the past: as version 1.1 was trained, or as version 1 was."""
        return self.version != "1"

    @property
    def sha256(self) -> str:
        """One digest for the whole set: equal for equal files, wherever they lie."""
        lines = sorted(f"{file.role} {file.sha256}\n" for file in self.files)
        return hashlib.sha256("".join([f"{self.version}\n", *lines]).encode()).hexdigest()


def needed(variant: Variant) -> tuple[Role, ...]:
    """Give the files that `variant` reads."""
    return ("dit", "lq", "vae" if variant == "full" else "decoder", "prompt")


def find(folder: Path, version: Version, variant: Variant) -> Weights:
    """Give the set of weights below `folder` that `variant` needs; no tensor is read.

    version:  auto takes 1.1 where its files are all there, else 1.

    The digests are those remembered beside the files; the first time they are read, at seconds for each gigabyte.
    Raises Unavailable, with the remedy, where files are missing or damaged, or are not of one version.
    """
    try:
        place = _place(folder, NUMBERS if version == "auto" else (version,), needed(variant))
        files = tuple(file_of(role, path) for role in needed(variant) if (path := locate(place, role)))
        number = version_of(place, files, None if version == "auto" else version)
    except OSError as error:
        raise Unavailable(f"{error.filename}: cannot be read ({error.strerror}); let this user read it") from error
    return Weights(version=number, files=files, warnings=tuple(_doubts(files)))


def version_of(place: Path, files: tuple[File, ...], asked: Number | None) -> Number:
    """Give the version that all signs agree on. Raises Unavailable where they do not, or there is none.

    asked: what the options say; it decides only where no digest and no name does
    """
    signs = {f"its folder is called {place.name}": number_of(place)}
    if (manifest := read_manifest(place)) and any(file.path.name in manifest.files for file in files):
        signs[f"{MANIFEST} says so"] = manifest.version
    for file in files:
        signs[f"{file.path.name} was published with it"] = VERSION_OF.get(file.source_sha256)
    signs["the option `version` asks for it"] = asked
    told = {sign: number for sign, number in signs.items() if number}
    if not told:
        raise Unavailable(
            f"{place}: nothing says which version these files are of; name the folder {FOLDERS['1']} or"
            f" {FOLDERS['1.1']}, or set the option `version`"
        )
    (first, number), *others = told.items()
    for sign, other in others:
        if other != number:
            raise Unavailable(
                f"{place}: of version {number} ({first}) and of version {other} ({sign}): mixed files blur the picture;"
                " give each version a folder of its own"
            )
    return number


def number_of(place: Path) -> Number | None:
    """Give the version that the name of a folder tells, if any."""
    return next((number for number, name in FOLDERS.items() if name == place.name.lower()), None)


def read_manifest(place: Path) -> Manifest | None:
    """Give what is noted of the files converted in `place`, None where none are. Raises Unavailable if damaged."""
    path = place / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise Unavailable(f"{path}: damaged; remove it and import the weights again") from error


def locate(place: Path, role: Role) -> Path | None:
    """Give the file of `role` in `place`: the converted one, the published one, or that with its tensors folded in."""
    official = Path(NAMES[role])
    for name in (
        *(name for name, note in _notes(place).items() if note.role == role),
        official.name,
        f"{official.stem}.safetensors",
    ):
        if (place / name).is_file():
            return place / name
    if role == "lq" and (transformer := locate(place, "dit")) and _folds(transformer):
        return transformer
    return None


def places(folder: Path, wanted: tuple[Number, ...]) -> list[Path]:
    """Give the folders below `folder` that may hold a set: the version first that is named first, in any case."""
    names = (*(FOLDERS[number] for number in wanted), UNVERSIONED)
    there = [place for place in folder.iterdir() if place.is_dir()] if folder.is_dir() else []
    there.sort(key=lambda place: (not place.name.islower(), place.name))
    return [place for name in names for place in there if place.name.lower() == name]


def missing(place: Path, roles: tuple[Role, ...]) -> list[Role]:
    """Give those of `roles` that have no file in `place`."""
    return [role for role in roles if locate(place, role) is None]


def remedy(place: Path, number: Number, roles: list[Role]) -> str:
    """Say that the files of `roles` are missing in `place`, and how to get them, in one line.

    number:  the version they are wanted of, where the name of `place` does not tell
    """
    number = number_of(place) or number
    ways = []
    if names := [NAMES[role] for role in roles if role != "prompt"]:
        ways.append(f"{', '.join(names)} from the model repository {REPOSITORIES[number]}")
    if "prompt" in roles:
        ways.append(f"{NAMES['prompt']} from {PROMPT_PLACE}")
    lacking = ", ".join(NAMES[role] for role in roles)
    return f"{place}: no {lacking}; put there {' and '.join(ways)}, or set another model"


def file_of(role: Role, path: Path, sha256_of: Callable[[Path], str] = digest) -> File:
    """Give what is known of the file of `role` at `path`. Raises Unavailable if damaged, OSError if gone."""
    note = _notes(path.parent).get(path.name)
    size_bytes = path.stat().st_size
    if note and size_bytes != note.size_bytes:
        raise Unavailable(f"{path}: damaged, {size_bytes} bytes and not {note.size_bytes}; import the weights again")
    sha256 = sha256_of(path)
    if note and sha256 != note.sha256:
        raise Unavailable(f"{path}: damaged, its SHA-256 is not that in {MANIFEST}; import the weights again")
    source = note.source.sha256 if note else sha256
    return File(role=role, path=path, size_bytes=size_bytes, sha256=sha256, source_sha256=source)


def _place(folder: Path, wanted: tuple[Number, ...], roles: tuple[Role, ...]) -> Path:
    """Give the first folder below `folder` that holds a whole set."""
    found = {place: missing(place, roles) for place in places(folder, wanted)}
    for place, lacking in found.items():
        if not lacking:
            return place
    default = folder / FOLDERS[wanted[0]]
    begun = next((place for place, lacking in found.items() if len(lacking) < len(roles)), default)
    raise Unavailable(remedy(begun, wanted[0], found.get(begun, list(roles))))


def _notes(place: Path) -> dict[str, Converted]:
    manifest = read_manifest(place)
    return manifest.files if manifest else {}


def _folds(path: Path) -> bool:
    """Tell whether the projection's tensors lie in this file, by the header of safetensors."""
    if path.suffix != ".safetensors":
        return False
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return f'"{FOLDED}'.encode() in file.read(min(length, 1 << 24))


def _doubts(files: tuple[File, ...]) -> Iterator[str]:
    """Yield a warning where the two files that must fit are not both the published ones."""
    pair = {file.path.name: VERSION_OF.get(file.source_sha256) for file in files if file.role in ("dit", "lq")}
    if len(set(pair.values())) > 1:
        (known,) = (name for name, number in pair.items() if number)
        (other,) = (name for name, number in pair.items() if not number)
        yield f"{other} is not the file published with {known}; if the picture is blurred, fetch both from one place"
