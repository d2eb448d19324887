"""The models by name: which files each needs, where they come from, and what of them is here"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, get_args

from darkroom.pipelines.animate import layout
from darkroom.pipelines.animate import weights as wan
from darkroom.pipelines.animate.convert import original
from darkroom.pipelines.digests import digest, measure
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale import weights
from darkroom.pipelines.upscale.flashvsr import files as flashvsr
from darkroom.pipelines.upscale.flashvsr.architecture import Role
from darkroom.pipelines.upscale.models import MODELS

Verdict = Literal["missing", "as published", "converted", "there", "damaged"]
Version = Literal["1", "1.1", "480p", "720p"]  # of FlashVSR, and of Wan2.1
CONVERTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "flashvsr": ("darkroom.pipelines.upscale.flashvsr.convert", get_args(flashvsr.Number)),
    "wan": ("darkroom.pipelines.animate.convert.run", get_args(wan.Resolution)),
}
EMBEDDED = Path(weights.__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A file that a model needs, as it is published, and what of it is here."""

    name: str
    origin: str  # where to get it
    use: str = ""  # what it is for, "" if all needs it
    path: Path | None = None  # where it lies, or what was made of it; None: nowhere
    size_bytes: int = 0  # of what is here, or of what is published; 0: not known
    sha256: str = ""  # of the same
    verdict: Verdict = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSet:
    """A model, and whether it can be used here."""

    name: str
    pipeline: str
    summary: str
    place: Path  # where its files lie, or belong
    built_in: bool = False
    trouble: str = ""  # why it cannot be used, and what to do
    incomplete: bool = False  # the trouble is that files are missing
    files: tuple[ModelFile, ...]

    @property
    def state(self) -> str:
        """Say in a few words whether it can be used."""
        if self.trouble:
            return "files are missing" if self.incomplete else "cannot be used"
        idle = [file.use for file in self.files if file.verdict == "missing" and file.use]
        return ("built in" if self.built_in else "ready") + (f", but not for {', '.join(idle)}" if idle else "")


def survey(folder: Path) -> Iterator[ModelSet]:
    """Yield every model, with what is there of it in `folder`, the folder of weights.

    Digests that are not remembered are read from the files, at seconds for each gigabyte. Raises OSError.
    """
    yield from _embedded()
    yield from _flashvsr(folder)
    yield from _wan(folder)


def import_weights(
    source: Path, folder: Path, version: Version | None = None, say: Callable[[str], None] = print
) -> Path:
    """Check the published files in `source`, convert them once into `folder`, and return where they lie now.

    version:  where the files do not tell it;  say: is told what is done, in lines

    Raises Unavailable if they are not all there or not what they should be. Imports torch.
    """
    kind = "wan" if original.looks_original(source) or (source / layout.INDEX).exists() else "flashvsr"
    module, versions = CONVERTERS[kind]
    if version and version not in versions:
        raise Unavailable(f"{source}: has no version {version}; choose {' or '.join(versions)}, or none")
    try:
        convert = import_module(module).convert
    except ModuleNotFoundError as error:
        raise Unavailable(f"{source}: {error.name} is not installed; pip install 'darkroomd[animate]'") from error
    place: Path = convert(source, folder, version, say)
    return place


def _embedded() -> Iterator[ModelSet]:
    for model in MODELS.values():
        path = EMBEDDED / model.file
        whole = path.is_file() and measure(path) == model.sha256
        file = ModelFile(
            name=model.file,
            origin="this package",
            path=path,
            size_bytes=path.stat().st_size if path.is_file() else 0,
            sha256=model.sha256,
            verdict="as published" if whole else "damaged",
        )
        trouble = "" if whole else f"{path}: damaged; reinstall darkroomd"
        yield ModelSet(
            name=model.name,
            pipeline="upscale",
            summary=model.title,
            place=EMBEDDED,
            built_in=True,
            trouble=trouble,
            files=(file,),
        )


def _flashvsr(folder: Path) -> Iterator[ModelSet]:
    """Yield each set that is there, then each version that is not."""
    numbers = set[str]()
    for place in flashvsr.places(folder, flashvsr.NUMBERS):
        found = _flashvsr_at(place)
        numbers.add(found.name)
        yield found
    for number in flashvsr.NUMBERS:
        if f"flashvsr {number}" not in numbers:
            yield _flashvsr_at(folder / flashvsr.FOLDERS[number])


def _flashvsr_at(place: Path) -> ModelSet:
    number, trouble, incomplete = flashvsr.number_of(place), "", False
    files: dict[Role, flashvsr.File] = {}
    try:
        there = {role: path for role in flashvsr.NAMES if (path := flashvsr.locate(place, role))}
        files = {role: flashvsr.file_of(role, path) for role, path in there.items()}
        lacking = {variant: flashvsr.missing(place, flashvsr.needed(variant)) for variant in ("tiny", "full")}
        incomplete = all(lacking.values())
        if incomplete:
            trouble = flashvsr.remedy(place, number or "1.1", lacking["tiny"])
        else:
            number = flashvsr.version_of(place, tuple(files.values()), None)
    except Unavailable as error:
        trouble = str(error)
    return ModelSet(
        name=f"flashvsr {number or '?'}",
        pipeline="upscale",
        summary="FlashVSR: restores and enlarges; wants a GPU",
        place=place,
        trouble=trouble,
        incomplete=incomplete,
        files=tuple(_model_file(role, files.get(role), number or "1.1") for role in flashvsr.NAMES),
    )


def _model_file(role: Role, file: flashvsr.File | None, number: flashvsr.Number) -> ModelFile:
    name = flashvsr.NAMES[role]
    origin = flashvsr.PROMPT_PLACE if role == "prompt" else flashvsr.REPOSITORIES[number]
    use = {"decoder": "variants tiny and tiny-long", "vae": "variant full"}.get(role, "")
    told = number == "1.1" or role == "vae"  # of version 1 no digests are known but the one it shares
    known = next((one for one in flashvsr.PUBLISHED if one.role == role and told), None)
    if file is None:
        size_bytes, sha256 = (known.size_bytes, known.sha256) if known else (0, "")
        return ModelFile(name=name, origin=origin, use=use, size_bytes=size_bytes, sha256=sha256)
    published = file.sha256 in {one.sha256 for one in flashvsr.PUBLISHED}
    verdict: Verdict = "as published" if published else "there" if file.sha256 == file.source_sha256 else "converted"
    return ModelFile(
        name=name,
        origin=origin,
        use=use,
        path=file.path,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        verdict=verdict,
    )


def _wan(folder: Path) -> Iterator[ModelSet]:
    """Yield each set that is there, or the one that is not."""
    for place in wan.listed(folder) or [folder / wan.NAME]:
        yield _wan_original(place) if wan.is_original(place) else _wan_at(place)


def _wan_at(place: Path) -> ModelSet:
    trouble, lacking = "", list[Path]()
    files: tuple[ModelFile, ...] = ()
    try:
        lacking = wan.missing(place)
        wanted = [path for paths in layout.files_of(place).values() for path in paths if path.suffix != ".json"]
        wanted += [path for path in lacking if path not in wanted]
        files = tuple(_wan_file(place, path) for path in wanted)
        trouble = wan.remedy(place, lacking) if lacking else ""
        if not lacking:
            wan.read(place)
    except Unavailable as error:
        trouble = str(error)
    return _wan_set(place, trouble, bool(lacking), files)


def _wan_original(place: Path) -> ModelSet:
    files, trouble = tuple[ModelFile, ...](), wan.remedy(place, [])
    try:
        wanted = [path for paths in original.files_of(place).values() for path in paths if path.suffix != ".json"]
        files = tuple(_wan_file(place, path) for path in wanted)
        original.check(place)
    except Unavailable as error:
        trouble = str(error)
    return _wan_set(place, trouble, False, files)


def _wan_set(place: Path, trouble: str, incomplete: bool, files: tuple[ModelFile, ...]) -> ModelSet:
    return ModelSet(
        name=place.name,
        pipeline="animate",
        summary="Wan2.1 I2V: makes videos from images; wants a GPU",
        place=place,
        trouble=trouble,
        incomplete=incomplete,
        files=files,
    )


def _wan_file(place: Path, path: Path) -> ModelFile:
    name = str(path.relative_to(place))
    origin = wan.REPOSITORIES[original.resolution_of(place) or "480p"]
    if not path.is_file():
        return ModelFile(name=name, origin=origin)
    sha256 = digest(path)
    known = {one.sha256 for one in original.PUBLISHED.values()}
    return ModelFile(
        name=name,
        origin=origin,
        path=path,
        size_bytes=path.stat().st_size,
        sha256=sha256,
        verdict="as published" if sha256 in known else "there",
    )
