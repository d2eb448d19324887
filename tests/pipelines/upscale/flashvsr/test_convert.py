"""Import: half the size, the same numbers, whole or not at all, and once."""

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from darkroom.pipelines import digests, tiny_models
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.flashvsr import convert as module
from darkroom.pipelines.upscale.flashvsr.convert import convert, write_safetensors
from darkroom.pipelines.upscale.flashvsr.files import MANIFEST, NAMES, VERSION_OF, find, read_manifest
from darkroom.pipelines.upscale.flashvsr.weights import Tensors, load, read


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny_models.write(tmp_path / "downloads", "1.1")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def loaded(models: Path, variant: Any = "tiny") -> Tensors:
    return load(find(models, "auto", variant))


def same(found: Any, wanted: Any) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key].bfloat16()) for key in wanted)


def refusal(source: Path, models: Path, **options: Any) -> str:
    with pytest.raises(Unavailable) as caught:
        convert(source, models, **options)
    return str(caught.value)


def test_an_imported_set_holds_the_numbers_of_the_published_one_in_16_bits(source: Path, models: Path) -> None:
    assert convert(source, models) == models / "flashvsr-v1.1"
    wanted, found = loaded(source.parent), loaded(models)
    assert same(found.dit, wanted.dit) and same(found.lq, wanted.lq) and same(found.decoder, wanted.decoder)
    assert torch.equal(found.prompt, wanted.prompt.bfloat16())
    assert same(loaded(models, "full").vae, loaded(source.parent, "full").vae)
    assert found.architecture == wanted.architecture
    published = sum((source / NAMES[role]).stat().st_size for role in ("dit", "decoder"))
    converted = sum((models / "flashvsr-v1.1" / f"{role}.safetensors").stat().st_size for role in ("dit", "decoder"))
    assert converted < 0.55 * published


def test_every_file_is_one_that_the_library_reads_too(source: Path, models: Path) -> None:
    place = convert(source, models)
    assert load_file(place / "dit.safetensors").keys() == load_file(source / NAMES["dit"]).keys()


def test_the_manifest_tells_where_each_file_came_from_and_find_needs_no_reading(
    source: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = convert(source, models)
    manifest = read_manifest(place)
    assert manifest is not None and (manifest.version, manifest.dtype) == ("1.1", "bfloat16")
    for name, note in manifest.files.items():
        assert note.size_bytes == (place / name).stat().st_size
        assert note.sha256 == digests.measure(place / name)
        official = source / note.source.name
        assert (note.source.size_bytes, note.source.sha256) == (official.stat().st_size, digests.measure(official))
    monkeypatch.setattr(digests, "measure", None)
    assert find(models, "auto", "tiny").version == "1.1"


def test_nothing_is_left_in_the_folder_of_the_source(source: Path, models: Path) -> None:
    before = {path.name for path in source.iterdir()}
    convert(source, models)
    assert {path.name for path in source.iterdir()} == before
    assert {path.name for path in (models / "flashvsr-v1.1").iterdir()} == {
        *(f"{role}.safetensors" for role in NAMES),
        MANIFEST,
        digests.FILE,
    }


def test_a_second_import_writes_nothing(source: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = convert(source, models)
    before, said = read_manifest(place), list[str]()
    monkeypatch.setattr(module, "write_safetensors", None)
    convert(source, models, say=said.append)
    assert read_manifest(place) == before
    assert sorted(said) == sorted(f"{name}: was imported before" for name in NAMES.values())


def test_a_file_that_changed_and_one_that_was_damaged_are_converted_again(source: Path, models: Path) -> None:
    place = convert(source, models)
    other = tiny_models.write(source.parent / "other", "1.1", seed=1)
    shutil.copy(other / NAMES["lq"], source / NAMES["lq"])
    (place / "decoder.safetensors").write_bytes(b"damaged")
    said = list[str]()
    convert(source, models, say=said.append)
    assert {line.partition(":")[0] for line in said if "imported before" not in line} == {NAMES["lq"], NAMES["decoder"]}
    assert same(loaded(models).lq, read(other / NAMES["lq"]))


def test_a_set_is_converted_in_its_own_folder_and_a_newer_published_file_goes_first(tmp_path: Path) -> None:
    place = tiny_models.write(tmp_path, "1")
    assert convert(place, tmp_path) == place
    other = tiny_models.write(tmp_path / "other", "1", seed=1)
    shutil.copy(other / NAMES["lq"], place)
    convert(place, tmp_path)
    assert same(loaded(tmp_path).lq, read(other / NAMES["lq"]))
    for name in NAMES.values():
        (place / name).unlink()
    assert convert(place, tmp_path) == place
    assert same(loaded(tmp_path).lq, read(other / NAMES["lq"]))


@pytest.mark.parametrize("lacking", ["decoder", "vae"])
def test_one_decoder_is_enough(source: Path, models: Path, lacking: Any) -> None:
    (source / NAMES[lacking]).unlink()
    convert(source, models)
    assert loaded(models, "tiny" if lacking == "vae" else "full")


def test_the_version_must_be_known_from_somewhere(source: Path, models: Path) -> None:
    downloads = source.rename(source.with_name("downloads"))
    assert "nothing says which version" in refusal(downloads, models)
    assert convert(downloads, models, "1") == models / "flashvsr-v1"
    digests.remember(downloads / NAMES["lq"], next(iter(VERSION_OF)))
    assert convert(downloads, models) == models / "flashvsr-v1.1"
    assert "of version 1.1 (LQ_proj_in.ckpt was published with it) and of version 1 (the" in refusal(
        downloads, models, version="1"
    )


def test_a_folder_that_holds_the_other_version_is_left_alone(source: Path, models: Path) -> None:
    place = convert(source, models)
    manifest = json.loads((place / MANIFEST).read_text())
    (place / MANIFEST).write_text(json.dumps({**manifest, "version": "1"}))
    assert f"{place}: holds version 1, and {source} is 1.1" in refusal(source, models)


def test_what_is_missing_or_wrong_in_the_source_is_told_before_anything_is_written(source: Path, models: Path) -> None:
    (source / NAMES["prompt"]).unlink()
    assert refusal(source, models).startswith(f"{source}: no posi_prompt.pth; put there posi_prompt.pth from examples/")
    torch.save(torch.zeros(1, 2, 3), source / NAMES["prompt"])
    assert "posi_prompt.pth has prompt of [1, 2, 3] and not [1, 2, 32]" in refusal(source, models)
    assert refusal(source / "nowhere", models).startswith(f"{source}/nowhere: is no folder")
    assert not models.exists()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 3.4e38])
def test_numbers_that_are_none_in_16_bits_are_refused_and_the_set_before_stays(
    source: Path, models: Path, number: float
) -> None:
    convert(source, models)
    before = {path.name: path.read_bytes() for path in (models / "flashvsr-v1.1").iterdir()}
    tensors = load_file(source / NAMES["dit"])
    tensors["head.head.bias"][3] = number
    save_file(tensors, source / NAMES["dit"])
    (source / NAMES["lq"]).write_bytes((source / NAMES["lq"]).read_bytes())
    words = refusal(source, models)
    assert words == f"{source}/{NAMES['dit']}: head.head.bias holds numbers that are not finite; fetch it again"
    assert {path.name: path.read_bytes() for path in (models / "flashvsr-v1.1").iterdir()} == before


def test_a_full_disk_is_told_before_it_is_full(source: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(source)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "0.0 GB free and 0.0 GB needed; make room" in refusal(source, models)


def test_two_imports_do_not_write_to_one_folder_and_drafts_of_a_killed_one_go(source: Path, models: Path) -> None:
    place = models / "flashvsr-v1.1"
    place.mkdir(parents=True)
    (place / ".dit.safetensors.123.draft").write_bytes(b"left")
    handle = os.open(place, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert f"{place}: another import is writing here" in refusal(source, models)
    os.close(handle)
    convert(source, models)
    assert not list(place.glob(".*"))


def test_tensors_of_any_size_are_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 7)
    tensors = {"a": torch.randn(3, 5), "b": torch.randn(40)[::2], "c": torch.randn(2).half(), "d": torch.randn(4, 4).T}
    sha256 = write_safetensors(tmp_path / "x.safetensors", tensors, tmp_path)
    assert same(load_file(tmp_path / "x.safetensors"), tensors)
    assert sha256 == digests.measure(tmp_path / "x.safetensors")
    assert module.size_of(tensors) == (tmp_path / "x.safetensors").stat().st_size


def test_an_import_that_ends_between_its_files_and_its_manifest_is_noticed_and_done_again(
    source: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    convert(source, models)
    other = tiny_models.write(source.parent / "other", "1.1", seed=1)
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(module, "write_json", crash)
        convert(other, models)
    with pytest.raises(Unavailable, match=r"damaged, its SHA-256 is not that in manifest\.json"):
        find(models, "auto", "tiny")
    convert(other, models)
    assert same(loaded(models).dit, read(other / NAMES["dit"]))
