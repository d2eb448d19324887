from pathlib import Path

import pytest
import torch

from darkroom.kernels.device import Device, describe
from darkroom.pipelines.base import Site
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.learned import Learned
from darkroom.pipelines.tiny_models import TINY, write
from darkroom.pipelines.upscale import machine
from darkroom.pipelines.upscale.machine import flash_precision, survey
from darkroom.pipelines.upscale.options import Options

CARD = Device(name="A card", kind="cuda", capability=(8, 6), total_bytes=24 << 30, free_bytes=23 << 30)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(device="cpu", models=tmp_path / "models", learned=tmp_path / "learned.json")


@pytest.fixture
def with_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that looks as if it had a card; what would run on it is not run."""
    monkeypatch.setattr(machine, "describe", lambda device: CARD)
    monkeypatch.setattr(machine, "matmul_rate", lambda device, precision: 123.0)


def test_without_weights_flashvsr_is_unavailable_by_name_and_an_obstacle_for_auto(site: Site, with_card: None) -> None:
    with pytest.raises(Unavailable, match=r"diffusion_pytorch_model_streaming_dmd\.safetensors"):
        survey(Options(model="flashvsr"), site)
    found = survey(Options(model="auto"), site)
    assert (found.flash, found.obstacle) == (None, f"no FlashVSR weights in {site.models}")


def test_a_damaged_set_is_told_as_what_it_is(site: Site, with_card: None) -> None:
    (write(site.models, "1.1") / "TCDecoder.ckpt").unlink()
    found = survey(Options(model="auto"), site)
    assert found.flash is None
    assert "TCDecoder.ckpt" in found.obstacle


def test_with_weights_and_a_card_nothing_stands_in_its_way(site: Site, with_card: None) -> None:
    write(site.models, "1.1")
    found = survey(Options(model="auto"), site)
    assert found.obstacle == ""
    assert found.flash is not None
    assert (found.flash.architecture.width, found.flash.precision, found.flash.pace) == (TINY.width, "bf16", 123.0)


def test_a_cpu_runs_it_only_by_name_at_a_pace_measured_once(site: Site) -> None:
    write(site.models, "1")
    found = survey(Options(model="auto"), site)
    assert (found.flash, found.obstacle) == (None, "FlashVSR wants a GPU")
    paces = {survey(Options(model="flashvsr", precision="fp32"), site).flash.pace for _ in range(2)}  # type: ignore[union-attr]
    assert len(paces) == 1
    assert Learned(site.learned).pace(describe("cpu").name, "fp32", lambda: -1.0) in paces


def test_a_card_too_full_to_be_measured_is_told_as_such(
    site: Site, with_card: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(device: str, precision: str) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(machine, "matmul_rate", full)
    write(site.models, "1.1")
    with pytest.raises(Unavailable, match="too full to measure its pace"):
        survey(Options(model="flashvsr"), site)


def test_models_that_are_built_in_ask_nothing_of_the_models_folder(site: Site) -> None:
    assert survey(Options(model="photo"), site).flash is None
    assert not site.learned.exists()


def test_cards_without_bf16_get_fp16() -> None:
    assert flash_precision(CARD, "cuda") == "bf16"
    assert flash_precision(Device(name="old", kind="cuda", capability=(7, 5)), "cuda") == "fp16"
