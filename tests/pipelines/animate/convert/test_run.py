"""Import: the same model in 16 bits, whole or not at all, and once."""

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanImageToVideoPipeline
from patience import patiently
from safetensors.torch import load_file, save_file

from darkroom.pipelines import digests
from darkroom.pipelines.animate import tiny, tiny_original
from darkroom.pipelines.animate.components import Components, load
from darkroom.pipelines.animate.convert import original, run
from darkroom.pipelines.animate.convert.run import convert
from darkroom.pipelines.animate.manifest import read_manifest
from darkroom.pipelines.animate.weights import find
from darkroom.pipelines.errors import Unavailable

EXACT = {"norm1", "norm2", "norm3", "time_embedder", "scale_shift_table"}
MODELS = ("text_encoder", "image_encoder", "transformer", "vae")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_original.write(tmp_path_factory.mktemp("downloads"))


@pytest.fixture
def source(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "downloads" / published.name))


@pytest.fixture(scope="module")
def imported(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(published, tmp_path_factory.mktemp("models"))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def refusal(source: Path, models: Path) -> str:
    with pytest.raises(Unavailable) as caught:
        convert(source, models)
    return str(caught.value)


def files(place: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(place.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(place)), path.read_bytes()


def outputs(parts: Components) -> dict[str, torch.Tensor]:
    """Return what each model makes of the same numbers."""
    made = torch.Generator().manual_seed(1)
    seen, latents = torch.randn(1, 3, 32, 32, generator=made), torch.randn(1, 36, 2, 4, 6, generator=made)
    words = parts.tokenizer(["a cat"], padding="max_length", max_length=512, return_tensors="pt")
    with torch.no_grad():
        text = parts.text_encoder(words.input_ids, words.attention_mask).last_hidden_state
        image = parts.image_encoder(seen, output_hidden_states=True).hidden_states[-2]
        noise = parts.transformer(latents, torch.tensor([857]), text, image, return_dict=False)[0]
        frames = parts.vae.decode(latents[:, :16], return_dict=False)[0]
    return {"text": text, "image": image, "noise": noise, "frames": frames}


def test_an_imported_model_gives_what_the_other_layouts_gives(imported: Path, tmp_path: Path) -> None:
    found = outputs(load(find(imported.parent), torch.float32))
    tiny.write(tmp_path)
    for name, wanted in outputs(load(find(tmp_path), torch.float32)).items():
        assert (found[name] - wanted).abs().max() < 1e-5 * wanted.abs().max(), name
        assert wanted.std() > 0.01, name


def test_the_library_loads_an_imported_model_as_a_whole(imported: Path) -> None:
    loaded = WanImageToVideoPipeline.from_pretrained(imported, local_files_only=True)
    assert loaded.transformer.config.image_dim == 160
    assert loaded.scheduler.config.flow_shift == 3.0


def test_numbers_are_in_16_bits_but_for_what_must_be_exact_and_for_small_models(imported: Path) -> None:
    tensors = load_file(imported / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {name.split(".")[-2] for name in tensors if name.startswith("blocks.0.attn1.to_q")} == {"to_q"}
    for name, tensor in tensors.items():
        assert tensor.dtype == (torch.float32 if EXACT & set(name.split(".")) else torch.bfloat16), name
    assert {tensor.dtype for tensor in load_file(imported / "text_encoder" / "model.safetensors").values()} == {
        torch.bfloat16
    }
    for name in ("image_encoder/model", "vae/diffusion_pytorch_model"):
        assert {tensor.dtype for tensor in load_file(imported / f"{name}.safetensors").values()} == {torch.float32}


def test_the_manifest_tells_what_was_written_and_read_and_find_needs_no_reading(
    published: Path, imported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(imported)
    assert manifest is not None and manifest.resolution == "480p"
    for place, notes in ((imported, manifest.files), (published, manifest.sources)):
        for name, note in notes.items():
            assert note.size_bytes == (place / name).stat().st_size
            assert note.sha256 == digests.measure(place / name)
    assert {f"{name}/config.json" for name in MODELS} <= manifest.files.keys()
    monkeypatch.setattr(digests, "measure", None)
    assert find(imported.parent).resolution == "480p"


def test_nothing_is_left_in_the_folder_of_the_source_and_no_draft_in_the_models(
    published: Path, imported: Path
) -> None:
    assert not [path for path in published.rglob("*") if path.name == digests.FILE]
    assert not [path for path in imported.rglob(".*")]
    assert imported.name == "wan2.1-i2v-480p"


def test_a_second_import_writes_nothing(
    source: Path, models: Path, imported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(shutil.copytree(imported, models / imported.name))
    before, said = list(files(place)), list[str]()
    monkeypatch.setattr(run, "write_shards", None)
    assert convert(source, models, say=said.append) == place
    assert [name for name, _ in files(place)] == [name for name, _ in before]
    assert said == [f"{source}: was imported before, into {place}"]


def test_a_damaged_import_is_done_again(source: Path, models: Path, imported: Path) -> None:
    place = Path(shutil.copytree(imported, models / imported.name))
    (place / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    (place / "tokenizer" / "tokenizer.json").unlink()
    convert(source, models)
    assert find(models).sha256 == find(imported.parent).sha256


def test_another_model_in_the_same_place_is_left_alone(source: Path, models: Path, imported: Path) -> None:
    place = Path(shutil.copytree(imported, models / imported.name))
    other = tiny_original.write(source.parent / "other", seed=1)
    before = list(files(place))
    assert refusal(other, models) == f"{place}: holds another model; remove or rename it, and import again"
    (place / "manifest.json").unlink()
    assert "holds another model" in refusal(source, models)
    assert list(files(place)) == [file for file in before if file[0] != "manifest.json"]


def test_a_model_is_converted_within_its_own_folder_and_found_there(source: Path, imported: Path) -> None:
    assert convert(source, source.parent) == source
    assert find(source.parent).sha256 == find(imported.parent).sha256
    said = list[str]()
    convert(source, source.parent, say=said.append)
    assert "was imported before" in said[0]


def test_the_resolution_is_that_of_the_name_or_the_one_given_or_none(source: Path, models: Path) -> None:
    unnamed = source.rename(source.with_name("wan"))
    assert convert(unnamed, models) == models / "wan2.1-i2v"
    assert find(models).resolution is None
    place = convert(unnamed, models, "720p")
    assert place == models / "wan2.1-i2v-720p"
    assert find(models, place.name).resolution == "720p"
    assert load(find(models, place.name)).scheduler["flow_shift"] == 5.0


@pytest.mark.parametrize("name", [*(one.name for one in original.PUBLISHED.values()), "diffusion_pytorch_model-00002"])
def test_files_that_were_cut_short_are_refused_and_nothing_is_written(source: Path, models: Path, name: str) -> None:
    (path,) = source.glob(f"{name}*")
    path.write_bytes(path.read_bytes()[:-1000])
    assert refusal(source, models).startswith(f"{path}: ")
    assert not models.exists()


def test_pickles_that_hold_more_than_tensors_are_never_run(source: Path, models: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    path = source / original.PUBLISHED["text_encoder"].name
    torch.save({"token_embedding.weight": Trap()}, path)
    assert refusal(source, models) == f"{path}: holds more than tensors, and is not read; fetch the published file"
    assert not (tmp_path / "sprung").exists()


def test_a_file_as_large_as_the_published_one_must_be_it(
    source: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = source / "Wan2.1_VAE.pth"
    known = original.Published(name=path.name, size_bytes=path.stat().st_size, sha256="0" * 64)
    monkeypatch.setitem(original.PUBLISHED, "vae", known)
    assert refusal(source, models) == (
        f"{path}: damaged, its SHA-256 is not that of the published file; fetch it again"
    )


def test_numbers_that_are_none_in_16_bits_are_refused_and_nothing_is_left(source: Path, models: Path) -> None:
    path = source / original.PUBLISHED["text_encoder"].name
    tensors = torch.load(path, weights_only=True)
    tensors["norm.weight"][3] = float("nan")
    torch.save(tensors, path)
    assert refusal(source, models) == f"{path}: norm.weight: holds numbers that are not finite; fetch it again"
    assert not list(models.iterdir())


def test_a_tokenizer_that_cannot_be_read_is_refused(source: Path, models: Path) -> None:
    (source / "google/umt5-xxl/tokenizer.json").write_text("{}")
    assert refusal(source, models).startswith(f"{source}/google/umt5-xxl: cannot be read as a tokenizer")


def test_a_full_disk_is_told_before_it_is_full(source: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(source)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "0.0 GB free and 0.0 GB needed; make room" in refusal(source, models)


def test_two_imports_do_not_write_to_one_folder(source: Path, models: Path) -> None:
    place = models / "wan2.1-i2v-480p"
    place.mkdir(parents=True)
    handle = os.open(place, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert f"{place}: another import is writing here" in refusal(source, models)
    os.close(handle)


KILLED = """
import os, signal, sys
from pathlib import Path
from darkroom.pipelines.animate.convert import run
calls, real = [0], getattr(run, sys.argv[1])
def deadly(*arguments, **named):
    calls[0] += 1
    if calls[0] == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **named)
setattr(run, sys.argv[1], deadly)
run.convert(Path(sys.argv[3]), Path(sys.argv[4]))
"""


@pytest.mark.parametrize(("function", "call"), [("write_shards", 2), ("sync", -1)])
def test_an_import_that_is_killed_leaves_no_model_and_the_next_one_ends_it(
    source: Path, models: Path, imported: Path, function: str, call: int
) -> None:
    if call < 0:  # the last but one: everything was moved, except the file that makes it a model
        call = sum(1 for _ in imported.rglob("*")) + 1
    command = [sys.executable, "-P", "-c", KILLED, function, str(call), str(source), str(models)]
    done = patiently(command)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with pytest.raises(Unavailable):
        find(models)
    place = convert(source, models)
    assert find(models).sha256 == find(imported.parent).sha256
    assert not list(place.rglob(".*"))


def test_the_layout_of_the_library_is_imported_too_with_half_the_size(
    models: Path, imported: Path, tmp_path: Path
) -> None:
    source = tiny.write(tmp_path / "downloads")
    (path,) = (source / "image_encoder").glob("*.safetensors")
    save_file({f"vision_model.{name}": tensor for name, tensor in load_file(path).items()}, path)  # as published
    place = convert(source, models)
    assert place == models / "wan2.1-i2v-480p"
    for name in MODELS:
        (path,), (other,) = ((folder / name).glob("*.safetensors") for folder in (place, imported))
        found, wanted = load_file(path), load_file(other)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) and found[key].dtype == wanted[key].dtype for key in wanted)
    sizes = [(folder / "transformer/diffusion_pytorch_model.safetensors").stat().st_size for folder in (place, source)]
    assert sizes[0] < 0.6 * sizes[1]
    in_use = tiny.write(tmp_path / "own").rename(tmp_path / "own" / "wan2.1-i2v-480p")
    assert "can be used as it is" in refusal(in_use, in_use.parent)
