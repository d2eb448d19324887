from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_wan import animate, tiny_components, velocity

from darkroom.pipelines.animate.memory import Profile
from darkroom.pipelines.animate.plan import AnimatePlan
from darkroom.pipelines.animate.prepare import compiled, prepare
from darkroom.pipelines.animate.quantize import format_of

CPU = torch.device("cpu")


@pytest.fixture
def plan(models: Path, image: Path) -> AnimatePlan:
    pipeline = animate(models)
    return pipeline.plan(pipeline.probe(image))


def test_a_kept_transformer_of_another_form_is_loaded_anew(plan: AnimatePlan) -> None:
    parts = tiny_components()
    before = velocity(parts.transformer)
    with ExitStack() as undo:
        for wanted in ("int8", "int8", "fp8", "none"):
            before_this = parts.transformer
            prepare(parts, replace(plan, profile=Profile(precision="fp32", quantize=wanted)), CPU, undo)
            assert format_of(parts.transformer.blocks) == wanted
            assert (parts.transformer is before_this) == (wanted == "int8")
    assert torch.equal(velocity(parts.transformer), before)


def test_the_blocks_are_compiled_for_this_job_alone() -> None:
    made: list[object] = []

    def make(forward: object) -> object:
        made.append(forward)
        return torch.compile(forward, backend="eager")  # type: ignore[call-overload]

    transformer = tiny_components().transformer
    before, heard = velocity(transformer), list[int]()
    hook = transformer.blocks[0].register_forward_pre_hook(lambda *_: heard.append(1))
    with compiled(transformer, make):
        assert torch.allclose(velocity(transformer), before, atol=1e-5)
    hook.remove()
    assert len(made) == 2
    assert heard == [1]
    assert all("forward" not in vars(block) for block in transformer.blocks)
    assert torch.equal(velocity(transformer), before)
