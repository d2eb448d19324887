"""Tiny models: the published layouts, small, and the same bytes for the same seed."""

import sys
from pathlib import Path

import pytest
import torch
from patience import patiently
from safetensors.torch import load_file

from darkroom.pipelines.animate import weights as wan
from darkroom.pipelines.animate.convert import original
from darkroom.pipelines.tiny_models import TINY, make, write, write_wan
from darkroom.pipelines.upscale.flashvsr.files import NAMES, find
from darkroom.pipelines.upscale.flashvsr.weights import load

TINY_BYTES = 12_000_000  # of one version


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    command = [sys.executable, "-P", "-m", "darkroom.pipelines.tiny_models", str(folder)]
    said = patiently(command, check=True).stdout
    names = ("flashvsr-v1", "flashvsr-v1.1", "wan2.1-i2v", "originals/Wan2.1-I2V-14B-480P")
    assert said.splitlines() == [f"{folder}/{name}" for name in names]
    return folder


@pytest.mark.parametrize("version", ["1", "1.1"])
@pytest.mark.parametrize("variant", ["tiny", "full"])
def test_they_are_found_and_load_as_the_published_ones_do(models: Path, version: str, variant: str) -> None:
    found = load(find(models, version, variant))  # type: ignore[arg-type]
    wide = found.architecture
    assert (wide.width, wide.heads, wide.layers, wide.text_tokens) == (256, 2, 2, 512)
    assert wide.width // wide.heads == 128
    assert wide == TINY or variant == "tiny" or found.decoder is None


def test_containers_and_types_are_the_published_ones(models: Path) -> None:
    place = models / "flashvsr-v1.1"
    assert {path.name for path in place.iterdir() if path.suffix != ".json"} == set(NAMES.values())
    assert {tensor.dtype for tensor in load_file(place / NAMES["dit"]).values()} == {torch.float32}
    lq = torch.load(place / NAMES["lq"], weights_only=True)
    assert {tensor.dtype for tensor in lq.values()} == {torch.bfloat16}
    prompt = torch.load(place / NAMES["prompt"], weights_only=True)
    assert (prompt.dtype, tuple(prompt.shape)) == (torch.bfloat16, (1, TINY.text_tokens, TINY.text_width))


def test_they_are_small(models: Path) -> None:
    for place in models.iterdir():
        assert sum(path.stat().st_size for path in place.rglob("*")) < TINY_BYTES


def test_equal_seeds_give_equal_bytes_and_versions_differ(models: Path, tmp_path: Path) -> None:
    again, other = write(tmp_path / "again", "1.1"), write(tmp_path / "other", "1.1", seed=1)
    for name in NAMES.values():
        data = (models / "flashvsr-v1.1" / name).read_bytes()
        assert data == (again / name).read_bytes()
        assert data != (other / name).read_bytes()
        assert data != (models / "flashvsr-v1" / name).read_bytes()


def test_a_wan_is_found_and_its_originals_are_taken_for_such(models: Path) -> None:
    assert wan.find(models).architecture.image_width == 160
    assert original.looks_original(models / "originals" / "Wan2.1-I2V-14B-480P")


def test_without_the_extra_the_rest_is_written_and_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("darkroom.pipelines.animate.tiny")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    (line,) = write_wan(tmp_path)
    assert line == "no Wan2.1 I2V: diffusers is not installed; pip install 'darkroomd[animate]'"
    assert not list(tmp_path.iterdir())


def test_a_layer_keeps_what_passes_through_it_about_as_large_as_it_was() -> None:
    numbers = torch.Generator().manual_seed(1)
    weight = make("conv1.weight", (64, 768, 4, 3, 3), numbers)
    spread = (weight.flatten(1) @ torch.randn(768 * 36, generator=numbers)).std()
    assert 0.7 < float(spread) < 1.4
