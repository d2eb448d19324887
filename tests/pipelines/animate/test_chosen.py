from pathlib import Path

import pytest
from safetensors.torch import save_file
from tiny_wan import SMALL, animate
from torch import ones

from darkroom.pipelines.animate import chosen
from darkroom.pipelines.animate.chosen import allowed, choose, demand_of, numbers, remembered_as
from darkroom.pipelines.animate.components import load
from darkroom.pipelines.animate.device import FAMILIES, Accelerator, look
from darkroom.pipelines.animate.options import Options
from darkroom.pipelines.animate.plan import Chosen
from darkroom.pipelines.animate.sizes import Size
from darkroom.pipelines.animate.weights import find
from darkroom.pipelines.base import Site
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.learned import Learned

SIZE = Size(144, 96)


def options(**given: object) -> Options:
    return Options.model_validate({**SMALL, **given})


def made(models: Path, **given: object) -> Chosen:
    return choose(options(**given), Site(models=models), Path("cat.png"), SIZE, 5)


def card(kind: str, name: str = "A card", gib: int = 80) -> Accelerator:
    return Accelerator(family=FAMILIES[kind], name=name, capability=(9, 0), total_bytes=gib << 30, free_bytes=gib << 30)


def test_a_cpu_computes_in_32_bits_and_holds_everything(models: Path) -> None:
    found = made(models)
    assert found.device_kind == "cpu"
    profile = found.profile
    assert (profile.precision, profile.attention, profile.quantize) == ("fp32", "sdpa", "none")
    assert profile.text_on_device
    assert not profile.vae_tiled


def test_a_card_computes_in_16_bits_and_its_kind_is_in_the_plan(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "look", lambda device: card("cuda"))
    found = made(models)
    assert (found.device_kind, found.profile.precision, found.profile.attention) == ("cuda", "bf16", "cudnn")


def test_an_npu_has_no_fp8(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "look", lambda device: card("npu"))
    with pytest.raises(Unavailable, match=r"NPUs know no fp8; set memory\.quantize: int8"):
        made(models, memory={"quantize": "fp8"})


def test_the_numbers_of_each_model_are_counted_in_its_files(models: Path) -> None:
    weights = find(models)
    real = sum(tensor.numel() for tensor in load(weights).vae.parameters())
    assert numbers(weights, "vae") == pytest.approx(real, rel=0.1)  # names and shapes are in the files too


def test_loras_count_with_their_digests_and_their_memory(models: Path) -> None:
    save_file({"transformer.blocks.0.attn1.to_q.lora_A.weight": ones(2, 24)}, models / "style.safetensors")
    given = {"lora": [{"file": "style.safetensors"}]}
    names = [name for name, _ in made(models, **given).weights]
    assert names[-1] == "style.safetensors"
    demand = demand_of(options(**given), find(models), SIZE, 5, models)
    assert demand.lora_bytes == (models / "style.safetensors").stat().st_size
    with pytest.raises(Unavailable, match="a LoRA that cannot be read"):
        made(models, lora=[{"file": "none.safetensors"}])


def test_several_devices_hold_a_model_while_it_works_and_stream_none() -> None:
    assert allowed(options(), card("cuda")) == ("none", "model", "blocks")
    assert allowed(options(parallel={"ulysses": 2}), card("cuda")) == ("model",)
    assert allowed(options(parallel={"ulysses": 2}), card("cpu")) == ("none",)
    assert allowed(options(), card("cpu")) == ("none",)


def test_memory_is_planned_with_what_the_options_ask_for(models: Path) -> None:
    plain = demand_of(options(), find(models), SIZE, 5, models)
    assert (plain.branches, plain.cached, plain.ulysses) == (2, False, 1)
    other = options(guidance=1, attention_cache={}, parallel={"ulysses": 2})
    found = demand_of(other, find(models), SIZE, 5, models)
    assert (found.branches, found.cached, found.ulysses) == (1, True, 2)


def test_a_cache_that_does_not_fit_is_refused_before_anything_is_done(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen, "look", lambda device: card("cuda", gib=3))
    made(models)
    with pytest.raises(Unavailable, match="attention_cache keeps"):
        choose(options(attention_cache={}), Site(models=models), Path("cat.png"), Size(1920, 480), 100_001)


def test_the_time_it_will_take_is_told_where_anything_tells(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made(models).why == ""
    monkeypatch.setattr(chosen, "look", lambda device: card("cuda", "NVIDIA H100 80GB HBM3"))
    assert made(models).why == "about 1 s of denoising, by published times of such a card"
    site = Site(models=models, learned=tmp_path / "learned.json")
    key = remembered_as(options(), 5)
    Learned(site.learned).keep_rung("NVIDIA H100 80GB HBM3", 144, 96, key, {"step_s": 50.0})

    def told(**given: object) -> str:
        return choose(options(**given), site, Path("cat.png"), SIZE, 5).why

    assert told() == "about 5 min of denoising, as measured here"  # 3 steps, both branches
    assert told(guidance=1) == "about 2 min of denoising, as measured here"
    assert told(steps=10, magcache={"ratios": [1, 1], "keep": 0.1}) == "about 5 min of denoising, as measured here"


def test_a_plan_made_anew_is_the_same_whatever_was_learned(models: Path, image: Path, tmp_path: Path) -> None:
    pipeline = animate(models)
    plan = pipeline.plan(pipeline.probe(image))
    key = remembered_as(pipeline.options, plan.frames)
    site = Site(models=models, learned=tmp_path / "learned.json")
    values = {"offload": "none", "tiled": True, "step_s": 50.0}
    device = look("cpu").name
    Learned(site.learned).keep_rung(device, plan.width, plan.height, key, values)
    again = type(pipeline)(pipeline.options, site)
    assert (made_plan := again.plan(again.probe(image))) == plan
    assert made_plan.why != plan.why


def test_videos_of_one_size_are_told_apart() -> None:
    names = {remembered_as(options(), 5), remembered_as(options(), 9), remembered_as(options(model="other"), 5)}
    assert len(names | {remembered_as(options(parallel={"ulysses": 2}), 5)}) == 4
