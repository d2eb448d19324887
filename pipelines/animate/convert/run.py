"""Import: the published files of Wan2.1 I2V, checked and written once more as they load mapped, in 16 bits"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from transformers import AutoTokenizer

from darkroom.pipelines.animate.convert import original
from darkroom.pipelines.animate.convert.configs import (
    write_config,
    write_index,
    write_preprocessing,
    write_scheduler,
)
from darkroom.pipelines.animate.convert.models import Model, models_of
from darkroom.pipelines.animate.convert.source import Source, source_at
from darkroom.pipelines.animate.convert.stream import write_shards
from darkroom.pipelines.animate.layout import CONFIGS, INDEX, OF_TOKENIZER, STEMS, Component
from darkroom.pipelines.animate.manifest import MANIFEST, Manifest, Noted, read_manifest
from darkroom.pipelines.animate.weights import NAME, Resolution, missing, read
from darkroom.pipelines.digests import known, measure, remember
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.importing import alone, check_space, sync

DRAFT = ".import"  # a folder within the model's own, until all of it is written

Say = Callable[[str], None]


def convert(source: Path, models: Path, resolution: Resolution | None = None, say: Say = lambda line: None) -> Path:
    """Convert the published files in the folder `source`, of either layout, into a folder below `models`; return that.

    resolution:  that the weights were trained for, where nothing in `source` tells it
    say:         is told what is done, in lines for people

    All is checked before anything is written, and the model is there in one step at the end; a source that was
    converted before is not converted again. Memory is bounded by a piece of a tensor. Raises Unavailable, OSError.
    """
    found = source_at(source)
    resolution = found.resolution or resolution
    parts = models_of(found)
    sources = dict(_digests(found))
    place = _place(found, models, resolution)
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place):
        if _is_current(place, sources):
            say(f"{source}: was imported before, into {place}")
            return place
        check_space(place, sum(model.size_bytes for model in parts.values()))
        draft = place / DRAFT
        draft.mkdir()
        notes = _write(draft, found.tokenizer, parts, resolution, say)
        manifest = Manifest(resolution=resolution, files=notes, sources=sources)
        (draft / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
        _move(draft, place)
    return place


def _place(source: Source, models: Path, resolution: Resolution | None) -> Path:
    """Give the folder to write to: the source's own if that is in `models`, and both layouts can lie in it."""
    if source.original and source.place.parent == models:
        return source.place
    place = models / "-".join(filter(None, (NAME, resolution)))
    if place == source.place:
        raise Unavailable(f"{place}: can be used as it is; to convert it to 16 bits, move it out of {models} first")
    return place


def _digests(source: Source) -> Iterator[tuple[str, Noted]]:
    """Yield what is read of `source`. Raises Unavailable where a file has the size of a published one, and no more."""
    published = {one.name: one for one in original.PUBLISHED.values()}
    for path in (path for paths in source.files.values() for path in paths):
        found = Noted(size_bytes=path.stat().st_size, sha256=known(path) or measure(path))
        one = published.get(path.name)
        if one and found.size_bytes == one.size_bytes and found.sha256 != one.sha256:
            raise Unavailable(f"{path}: damaged, its SHA-256 is not that of the published file; fetch it again")
        yield str(path.relative_to(source.place)), found


def _is_current(place: Path, sources: Mapping[str, Noted]) -> bool:
    """Tell whether the model that the same files were converted into is there, and whole."""
    if not (place / INDEX).exists():
        return False
    manifest = read_manifest(place)
    if manifest is None or manifest.sources != sources:
        raise Unavailable(f"{place}: holds another model; remove or rename it, and import again")
    try:
        return not missing(place) and bool(read(place))
    except Unavailable:
        return False


def _write(
    draft: Path, tokenizer: Path, parts: Mapping[Component, Model], resolution: Resolution | None, say: Say
) -> dict[str, Noted]:
    """Write all files of a model into `draft`, and give what is to be noted of them."""
    for component in CONFIGS:
        (draft / component).mkdir()
    write_index(draft / INDEX, _copied_tokenizer(tokenizer, draft / "tokenizer"))
    write_scheduler(draft / "scheduler", resolution)
    write_preprocessing(draft / "image_processor", parts["image_encoder"].skeleton.config.image_size)
    for component, model in parts.items():
        say(f"{component}: writing {model.size_bytes / 1e9:.1f} GB")
        for file in write_shards(draft / component, STEMS[component], model.targets):
            remember(file.path, file.sha256)
        write_config(draft / component, model.skeleton, model.dtype)
    files = (
        path for component in CONFIGS for path in sorted((draft / component).iterdir()) if path.name != "digests.json"
    )
    return {
        str(path.relative_to(draft)): Noted(size_bytes=path.stat().st_size, sha256=known(path) or measure(path))
        for path in files
    }


def _copied_tokenizer(source: Path, folder: Path) -> object:
    """Copy the tokenizer's files, and give what the library makes of them. Raises Unavailable."""
    for name in (CONFIGS["tokenizer"], *OF_TOKENIZER):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of any library that reads one of many formats
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise Unavailable(f"{source}: cannot be read as a tokenizer ({line}); fetch its files again") from error


def _move(draft: Path, place: Path) -> None:
    """Move what is in `draft` up to `place`; only with the last file there is a model."""
    for path in draft.rglob("*"):
        sync(path)
    (place / INDEX).unlink(missing_ok=True)
    for component in CONFIGS:
        shutil.rmtree(place / component, ignore_errors=True)
        (draft / component).rename(place / component)
    (draft / MANIFEST).rename(place / MANIFEST)
    sync(place)
    (draft / INDEX).rename(place / INDEX)
    sync(place)
    draft.rmdir()


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Be the only import to write to `place`, and clear away what it or one that was killed has left."""
    with alone(place):
        shutil.rmtree(place / DRAFT, ignore_errors=True)
        try:
            yield
        finally:
            shutil.rmtree(place / DRAFT, ignore_errors=True)
            with suppress(OSError):  # it holds something, as it should
                place.rmdir()
