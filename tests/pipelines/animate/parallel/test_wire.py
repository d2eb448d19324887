import os
from multiprocessing.connection import Pipe
from pathlib import Path

import pytest
from tiny_wan import animate

from darkroom.pipelines.animate.options import Options
from darkroom.pipelines.animate.parallel.wire import receive, send, value_of, words_of
from darkroom.pipelines.animate.plan import AnimatePlan
from darkroom.pipelines.animate.weights import Weights, find
from darkroom.pipelines.base import Site


@pytest.mark.parametrize("name", [b"cat.png", "貓 🐈.png".encode(), b"caf\xe9.png"])
def test_a_plan_and_all_that_belongs_to_it_arrive_as_they_were(
    models: Path, image: Path, tmp_path: Path, name: bytes
) -> None:
    (models / "style.safetensors").touch()
    source = image.rename(tmp_path / os.fsdecode(name))
    lora = {"file": "style.safetensors", "weight": 0.5}
    pipeline = animate(models, lora=[lora], attention_cache={"start": 1, "end": 2}, parallel={"cfg": 2})
    plan, weights = pipeline.plan(pipeline.probe(source)), find(models, "wan2.1-i2v")
    here, there = Pipe()
    with here, there:
        for value in (plan, weights, pipeline.site, pipeline.options):
            send(here, value=words_of(value))
        assert value_of(AnimatePlan, receive(there)["value"]) == plan
        assert value_of(Weights, receive(there)["value"]) == weights
        assert value_of(Site, receive(there)["value"]) == pipeline.site
        assert value_of(Options, receive(there)["value"]) == pipeline.options


def test_only_plain_values_are_said() -> None:
    here, there = Pipe()
    with here, there, pytest.raises(TypeError):
        send(here, plan=object())


def test_an_end_that_is_gone_is_noticed() -> None:
    here, there = Pipe()
    with here:
        there.close()
        with pytest.raises(EOFError):
            receive(here)
