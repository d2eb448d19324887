import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_wan import SMALL, make

from darkroom.pipelines.animate import alone, decode, segments
from darkroom.pipelines.animate.alone import Room, made_by, make_room
from darkroom.pipelines.animate.components import kept
from darkroom.pipelines.animate.denoise import denoise
from darkroom.pipelines.animate.device import look
from darkroom.pipelines.animate.embeddings import FOLDER
from darkroom.pipelines.animate.memory import Placement
from darkroom.pipelines.animate.options import Options
from darkroom.pipelines.animate.pipeline import Animate
from darkroom.pipelines.animate.plan import AnimatePlan
from darkroom.pipelines.animate.weights import find
from darkroom.pipelines.base import Site
from darkroom.pipelines.errors import Unavailable

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB"


class Full:
    """What runs out of memory for the first `times`, and is then what it stands before."""

    def __init__(self, times: int, behind: Callable[..., Any]) -> None:
        self.left, self.behind, self.calls = times, behind, 0

    def __call__(self, *args: Any, **given: Any) -> Any:
        self.calls += 1
        if self.calls <= self.left:
            raise torch.OutOfMemoryError(FULL)
        return self.behind(*args, **given)


@pytest.fixture
def site(models: Path, tmp_path: Path) -> Site:
    return Site(models=models, learned=tmp_path / "learned.json")


def at(site: Site, **options: object) -> Animate:
    return Animate(options=Options.model_validate({**SMALL, **options}), site=site)


def rung(site: Site) -> dict[str, Any]:
    (device,) = json.loads(site.learned.read_text())["rungs"].values()
    (found,) = device.values()
    return dict(found)


def planned(site: Site, image: Path, **options: object) -> tuple[AnimatePlan, Options]:
    pipeline = at(site, **options)
    return pipeline.plan(pipeline.probe(image)), pipeline.options


def test_a_step_that_ran_out_of_memory_is_taken_again_and_changes_nothing(
    site: Site, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, parts, _ = make(at(site), image, tmp_path / "one")
    full = Full(1, denoise)
    monkeypatch.setattr(segments, "denoise", full)
    _, others, _ = make(at(site), image, tmp_path / "two")
    assert full.calls == 1 + 3
    assert [part.read_bytes() for part in parts] == [part.read_bytes() for part in others]


def test_a_decoder_that_does_not_fit_works_in_tiles_from_then_on(
    site: Site, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiles: list[bool] = []

    def seen(vae: Any, latents: Any, *, tiled: bool, listen: Any) -> Any:
        tiles.append(tiled)
        return decode.decode(vae, latents, tiled=tiled, listen=listen)

    monkeypatch.setattr(segments, "decode", Full(2, seen))
    plan, *_ = make(at(site), image, tmp_path / "one")
    assert tiles == [True]
    assert not plan.profile.vae_tiled
    assert "out of memory in decoding; from now on all on the device, decoded in tiles" in caplog.text
    assert rung(site)["tiled"] is True
    again, *_ = make(at(site), image, tmp_path / "two")
    assert tiles == [True, True]
    assert again == plan  # so that the parts of a job in hand are still its own


def test_where_nothing_is_left_to_try_the_numbers_are_told(
    site: Site, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = Full(99, denoise)
    monkeypatch.setattr(segments, "denoise", full)
    with pytest.raises(Unavailable, match=r"cat\.png: out of memory in denoising: CUDA out of memory"):
        make(at(site), image, tmp_path / "one")
    assert full.calls == 2  # once more after what was held in reserve was let go
    assert "GiB of device memory at least" in caplog.text


def test_other_errors_are_no_lack_of_memory(
    site: Site, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(segments, "denoise", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        make(at(site), image, tmp_path / "one")


def test_prompts_are_read_once_and_the_text_encoder_then_stays_in_its_file(
    site: Site, image: Path, tmp_path: Path
) -> None:
    _, parts, _ = make(at(site), image, tmp_path / "one")
    assert len(list(site.learned.with_name(FOLDER).iterdir())) == 2  # what is wanted, and what is not
    kept.cache_clear()
    plan, options = planned(site, image)
    with made_by(plan, site, options) as process:
        process(plan.segments[0], None, tmp_path / "again", lambda done: None)
        assert "text_encoder" not in process.components  # type: ignore[attr-defined]
    assert (tmp_path / "again").read_bytes() == parts[0].read_bytes()


def test_prompts_need_not_be_kept(site: Site, image: Path, tmp_path: Path) -> None:
    make(at(site, memory={"embedding_cache": False}), image, tmp_path / "one")
    assert not site.learned.with_name(FOLDER).exists()


def test_how_long_a_pass_takes_is_remembered_and_told_of_the_next_job(site: Site, image: Path, tmp_path: Path) -> None:
    make(at(site, segment_steps=3), image, tmp_path / "one")
    assert 0 < rung(site)["step_s"] < 60
    assert "of denoising, as measured here" in planned(site, image)[0].why


@pytest.fixture
def room(site: Site, image: Path, models: Path) -> Callable[..., Room]:
    def build(**options: object) -> Room:
        plan, chosen = planned(site, image, **options)
        return Room(plan, site, chosen, find(models))

    return build


def test_passes_are_timed_from_the_second_step_on(room: Callable[..., Room], site: Site) -> None:
    room().took([0.0, 9.0, 11.0, 13.0])
    assert rung(site) == {"step_s": 1.0}  # two branches
    room(guidance=1).took([0.0, 3.0])
    assert rung(site) == {"step_s": 3.0}
    room().took([5.0])
    room(attention_cache={}).took([0.0, 1.0, 2.0])  # would say too little
    assert rung(site) == {"step_s": 3.0}


def test_one_thing_learned_does_not_cost_the_other(room: Callable[..., Room], site: Site) -> None:
    one = room()
    one.took([0.0, 3.0])
    assert one.lighten("decoding")
    assert one.lighten("decoding")
    assert rung(site) == {"step_s": 1.5, "offload": "none", "tiled": True}
    assert room().placement == Placement(tiled=True)


def test_a_card_streams_where_all_does_not_fit(
    room: Callable[..., Room], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    seen = look("cpu")
    monkeypatch.setattr(alone, "allowed", lambda options, device: ("none", "model", "blocks"))
    monkeypatch.setattr(alone, "look", lambda device: replace(seen, free_bytes=1))
    found = room()
    assert found.placement.offload == "blocks"
    assert "transformer in host memory, about" in caplog.text
    monkeypatch.setattr(alone, "look", lambda device: seen)
    found = room()
    ways = [found.placement.offload]
    while found.lighten("denoising"):
        ways.append(found.placement.offload)
    assert ways == ["none", "none", "model", "blocks"]  # what is held in reserve goes first
    assert room().placement.offload == "blocks"


def test_a_streamed_job_makes_the_same_bytes(
    site: Site, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, parts, _ = make(at(site), image, tmp_path / "one")
    monkeypatch.setattr(alone, "allowed", lambda options, device: ("blocks",))
    _, others, _ = make(at(site), image, tmp_path / "two")
    monkeypatch.undo()
    _, third, _ = make(at(site), image, tmp_path / "three")
    for part, other, last in zip(parts, others, third, strict=True):
        assert part.read_bytes() == other.read_bytes() == last.read_bytes()


def test_room_is_made_by_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    monkeypatch.setattr(alone, "leave", lambda components, name, device, free: gone.append(name))
    make_room(object(), "vae", torch.device("cpu"))  # type: ignore[arg-type]
    assert gone == ["text_encoder", "image_encoder", "transformer"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("offload", ["model", "blocks"])
def test_on_a_gpu_where_weights_wait_changes_no_bit(site: Site, image: Path, tmp_path: Path, offload: str) -> None:
    def parts(way: str) -> list[bytes]:
        pipeline = at(replace(site, device="cuda"), attention="sdpa", memory={"offload": way})
        _, made, _ = make(pipeline, image, tmp_path / way)
        return [part.read_bytes() for part in made]

    assert parts("none") == parts(offload)
