import pytest
import torch
from tables import bench

from darkroom.kernels.backend import TORCH
from darkroom.pipelines.tiny_models import TINY
from darkroom.pipelines.upscale.flashvsr.cost import chunk_cost


def test_each_kind_of_work_is_timed_with_its_share_of_the_cost() -> None:
    stages, weights, layers = bench("stages"), bench("weights"), bench("layers")
    model = weights.model(TINY, 128, 128, ops=TORCH, dtype=torch.float32, device=torch.device("cpu"))
    _, state = stages.run(stages.Trial(model=model), 128, 128, 1)
    cost = chunk_cost(TINY, 128, 128)
    found = layers.parts(model, state, 128, 128, cost, 1)
    assert all(part.ms > 0 for part in found.values())
    assert all((part.flop > 0) != (part.moved > 0) for part in found.values())
    assert sum(part.flop for part in found.values()) == cost.linear + cost.cross + cost.attention
    one = 128 * TINY.width * 4 * TINY.layers
    assert found["norms, gates, RoPE"].moved == pytest.approx(18 * one)


def test_the_work_is_that_of_the_model() -> None:
    """Every operation that the transformer calls for a steady chunk is called as often by the parts together."""
    calls: dict[str, int] = {}

    def counted(name: str) -> object:
        def call(*given: object, **options: object) -> object:
            calls[name] = calls.get(name, 0) + 1
            return getattr(TORCH, name)(*given, **options)

        return call

    stages, weights, layers = bench("stages"), bench("weights"), bench("layers")
    names = ("norm_rope", "rms_norm", "gated_norm", "windowed", "dense")
    ops = bench("without").replace(TORCH, **{name: counted(name) for name in names})
    model = weights.model(TINY, 128, 128, ops=ops, dtype=torch.float32, device=torch.device("cpu"))
    _, state = stages.run(stages.Trial(model=model), 128, 128, 1)
    steps = stages.WARM + 1
    in_step = {name: count / steps for name, count in calls.items()}
    apart = layers.Layers(model, state, 128, 128)
    calls.clear()
    for work in (apart.attention, apart.linear, apart.feed_forward, apart.prompt, apart.norms, apart.values):
        work(0)
    in_step["gated_norm"] -= 1  # before the head
    assert calls == in_step
